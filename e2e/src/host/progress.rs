//! Progress of long steps: one line that updates itself on a terminal, plain lines elsewhere.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

/// Without a terminal, one line in this time is enough to see that a build is alive.
const QUIET: Duration = Duration::from_secs(20);

/// One running step. Writes to standard error directly, so that the test harness, which captures
/// the print macros, does not hide a build of fifteen minutes.
#[derive(Debug)]
pub struct Progress {
    title: String,
    started: Instant,
    written: Option<Instant>,
    terminal: bool,
}

impl Progress {
    /// Begins a step called `title`; writes nothing yet.
    #[must_use]
    pub fn new(title: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            started: Instant::now(),
            written: None,
            terminal: io::stderr().is_terminal(),
        }
    }

    /// Says how far the step is.
    pub fn update(&mut self, state: &str) {
        let due = self.written.is_none_or(|at| at.elapsed() >= QUIET);
        if self.terminal {
            self.write(&format!("\r\x1b[2K{}: {state}", self.title));
        } else if due {
            self.write(&format!("{}: {state}\n", self.title));
        }
    }

    /// Ends the step with its duration. A step that never had anything to say stays silent.
    pub fn done(mut self) {
        if self.written.is_some() {
            let erase = if self.terminal { "\r\x1b[2K" } else { "" };
            let seconds = self.started.elapsed().as_secs();
            self.write(&format!("{erase}{}: done in {seconds} s\n", self.title));
        }
    }

    fn write(&mut self, text: &str) {
        // Nothing can be done about a closed terminal, and a build need not fail for it.
        let _ = io::stderr().write_all(text.as_bytes());
        let _ = io::stderr().flush();
        self.written = Some(Instant::now());
    }
}
