//! Nothing outlives the process that started it, whatever ends that process.
//!
//! A tiny shell holds the read end of a pipe whose only write end is ours. Our end, by a return
//! from main, a panic, Ctrl-C or SIGKILL, closes the pipe; the shell then kills what is still
//! registered and removes our run directory. (Linux could do the first half by itself with a parent
//! death signal, but that follows the parent *thread*, and test threads come and go.)

use std::{
    fs,
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{self, Child, ChildStdin, Command, Stdio},
    sync::{Mutex, PoisonError},
};

use crate::{
    error::Error,
    host::workspace::{create_dir, state_dir},
};

/// `pids` always begins and ends with a space, so that a PID is found as a whole word.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
pids=' '
while read -r verb pid; do
    case $verb in
        watch) pids="$pids$pid " ;;
        forget) pids="${pids%% $pid *} ${pids#* $pid }" ;;
    esac
done
kill -9 $pids
# A process that leads a group may have started others; one that leads none is not found. (As `-9 --` not every shell takes it.)
for pid in $pids; do kill -s KILL -- "-$pid"; done
# Those that were killed may need a moment to stop writing into it.
for second in 1 2 3 4 5 6 7 8 9 10; do
    rm -rf "$1" && break
    sleep 1
done
"#;

/// The shell's standard input, once it runs. Never dropped: the end of the process closes it.
static SHELL: Mutex<Option<ChildStdin>> = Mutex::new(None);

/// A registered process; forgotten when this is dropped, which must happen before the process is
/// waited for, because its PID may belong to somebody else afterwards.
#[derive(Debug)]
pub(crate) struct Watched(u32);

/// From now on `child` dies with us.
pub(crate) fn watch(child: &Child) -> Result<Watched, Error> {
    tell("watch", child.id())?;
    Ok(Watched(child.id()))
}

impl Drop for Watched {
    fn drop(&mut self) {
        // Without the shell, nothing can kill a wrong process.
        let _ = tell("forget", self.0);
    }
}

/// The directory of this process under `target/`: created now, removed at our end.
pub(crate) fn run_dir() -> Result<PathBuf, Error> {
    let mut shell = SHELL.lock().unwrap_or_else(PoisonError::into_inner);
    start_once(&mut shell)?;
    Ok(run_dir_path())
}

fn run_dir_path() -> PathBuf {
    state_dir().join("run").join(process::id().to_string())
}

fn tell(verb: &str, pid: u32) -> Result<(), Error> {
    let mut shell = SHELL.lock().unwrap_or_else(PoisonError::into_inner);
    writeln!(start_once(&mut shell)?, "{verb} {pid}").map_err(Error::io("watchdog"))
}

fn start_once(shell: &mut Option<ChildStdin>) -> Result<&mut ChildStdin, Error> {
    if shell.is_none() {
        *shell = start(&run_dir_path())?;
    }
    shell
        .as_mut()
        .ok_or_else(|| Error::Unexpected("the watchdog has no input".into()))
}

fn start(run_dir: &Path) -> Result<Option<ChildStdin>, Error> {
    if run_dir.exists() {
        // Left by a process of the same PID whose watchdog could not finish.
        fs::remove_dir_all(run_dir).map_err(Error::io(run_dir.display().to_string()))?;
    }
    create_dir(run_dir)?;
    let mut child = Command::new("sh")
        .args(["-c", SCRIPT, "watchdog"])
        .arg(run_dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Its own group, or Ctrl-C would end it together with us.
        .process_group(0)
        .spawn()
        .map_err(Error::io("sh"))?;
    Ok(child.stdin.take())
}
