//! One process on the control plane: started, measured, signaled, frozen, killed, started again.

use std::{
    env,
    fs::OpenOptions,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    error::Error,
    host::{
        watchdog::{self, Watched},
        workspace::read,
    },
};

/// What to run. The environment is empty but for `PATH`, `HOME` and `env`, so that a proxy or a
/// kubeconfig of the user never leads outside.
#[derive(Clone, Debug)]
pub struct Program {
    /// Name for messages.
    pub name: String,
    /// The executable.
    pub path: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment.
    pub env: Vec<(String, String)>,
    /// Its working and home directory.
    pub dir: PathBuf,
    /// Where its output is appended.
    pub log: PathBuf,
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Resident memory in bytes (`VmRSS`).
    pub resident: u64,
    /// The most resident memory there ever was, in bytes (`VmHWM`).
    pub peak: u64,
    /// CPU time, user and system, of all its threads, in steps of 10 ms.
    pub cpu: Duration,
}

/// A process that ends with this value, or with us.
#[derive(Debug)]
pub struct Process {
    program: Program,
    child: Child,
    watched: Option<Watched>,
}

impl Process {
    /// Starts the program; its output is appended to its log.
    pub fn start(program: Program) -> Result<Self, Error> {
        let (child, watched) = spawn(&program)?;
        Ok(Self {
            program,
            child,
            watched: Some(watched),
        })
    }

    /// Its process ID, also after its end.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its name for messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.program.name
    }

    /// The file with all that it wrote, over all its restarts.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.program.log
    }

    /// How it ended, or nothing while it runs.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>, Error> {
        let status = self
            .child
            .try_wait()
            .map_err(Error::io(&self.program.name))?;
        if status.is_some() {
            self.watched = None;
        }
        Ok(status)
    }

    /// [`Error::Died`] with the end of its log, if it no longer runs.
    pub fn check(&mut self) -> Result<(), Error> {
        let Some(status) = self.exited()? else {
            return Ok(());
        };
        let log = read(self.log()).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(15)..].join("\n");
        Err(Error::Died {
            name: self.program.name.clone(),
            status,
            tail,
        })
    }

    /// Sends a signal by its name without `SIG`: `TERM`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) -> Result<(), Error> {
        send_signal(name, &self.pid().to_string())
    }

    /// SIGKILL for it and all that it started, and waits until the process is gone.
    pub fn kill(&mut self) -> Result<(), Error> {
        if self.watched.is_some() {
            // While it was not waited for, no other group can have its number.
            send_signal("KILL", &format!("-{}", self.pid()))?;
        }
        self.watched = None;
        self.child.kill().map_err(Error::io(&self.program.name))?;
        self.child.wait().map_err(Error::io(&self.program.name))?;
        Ok(())
    }

    /// SIGTERM, and waits for the end. If that takes longer than `deadline` the process is killed
    /// and the answer is [`Error::TimedOut`].
    pub fn stop(&mut self, deadline: Duration) -> Result<ExitStatus, Error> {
        self.signal("TERM")?;
        let started = Instant::now();
        while started.elapsed() < deadline {
            if let Some(status) = self.exited()? {
                return Ok(status);
            }
            sleep(Duration::from_millis(10));
        }
        self.kill()?;
        let what = format!("{} to end after SIGTERM", self.program.name);
        Err(Error::TimedOut {
            what,
            waited: deadline,
            last: "it was killed".into(),
        })
    }

    /// Starts the same program again, killing the old process if it still runs.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.kill()?;
        let (child, watched) = spawn(&self.program)?;
        self.child = child;
        self.watched = Some(watched);
        Ok(())
    }

    /// Stops the process where it is (SIGSTOP) until [`Process::thaw`]: it does nothing and keeps its connections.
    pub fn freeze(&self) -> Result<(), Error> {
        self.signal("STOP")
    }

    /// Lets a frozen process go on.
    pub fn thaw(&self) -> Result<(), Error> {
        self.signal("CONT")
    }

    /// Memory and CPU time so far; an error once the process has ended.
    pub fn usage(&self) -> Result<Usage, Error> {
        let failed = |error| Error::Unexpected(format!("{}: {error}", self.program.name));
        let process = in_proc(self.pid()).map_err(failed)?;
        let status = process.status().map_err(failed)?;
        let stat = process.stat().map_err(failed)?;
        let bytes = |kilobytes: Option<u64>| {
            let ended = || Error::Unexpected(format!("{} has ended", self.program.name));
            kilobytes
                .map(|kilobytes| kilobytes * 1024)
                .ok_or_else(ended)
        };
        let milliseconds = (stat.utime + stat.stime) * 1000 / procfs::ticks_per_second();
        Ok(Usage {
            resident: bytes(status.vmrss)?,
            peak: bytes(status.vmhwm)?,
            cpu: Duration::from_millis(milliseconds),
        })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A process that is gone already is what was wanted.
        let _ = self.kill();
    }
}

fn spawn(program: &Program) -> Result<(Child, Watched), Error> {
    let name = program.log.display().to_string();
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&program.log);
    let log = log.map_err(Error::io(&name))?;
    let errors = log.try_clone().map_err(Error::io(name))?;
    let child = Command::new(&program.path)
        .args(&program.args)
        .env_clear()
        .env("PATH", env::var_os("PATH").unwrap_or_default())
        .env("HOME", &program.dir)
        .envs(program.env.iter().cloned())
        .current_dir(&program.dir)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        // Its own group: Ctrl-C is for us, and we end our processes in order.
        .process_group(0)
        .spawn()
        .map_err(Error::io(program.path.display().to_string()))?;
    let watched = watchdog::watch(&child)?;
    Ok((child, watched))
}

/// Sends a signal to a process, or to a group of them, whose number follows a minus.
fn send_signal(name: &str, target: &str) -> Result<(), Error> {
    // The shell's own kill, because sending a signal from Rust needs unsafe code.
    let command = format!("kill -s {name} -- {target}");
    let output = Command::new("sh")
        .args(["-c", &command])
        .output()
        .map_err(Error::io("sh"))?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().to_string();
    Err(Error::Command { command, message })
}

/// Whether a process with this ID exists and is not a zombie.
#[must_use]
pub fn is_alive(pid: u32) -> bool {
    in_proc(pid).is_ok_and(|process| process.is_alive())
}

fn in_proc(pid: u32) -> procfs::ProcResult<procfs::process::Process> {
    procfs::process::Process::new(pid.cast_signed())
}
