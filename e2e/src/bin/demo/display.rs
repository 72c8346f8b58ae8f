//! The progress of components: a block that redraws itself on a terminal, a line per change elsewhere.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write},
    time::Instant,
};

use e2e::error::Error;

/// What is shown of one component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// `HEALTHY`, `RECONCILING` and the like.
    pub state: String,
    /// Why it is not healthy, or nothing.
    pub detail: String,
}

/// Draws rows as they change.
pub struct Display {
    terminal: bool,
    started: Instant,
    drawn: usize,
    known: BTreeMap<String, (Row, f64)>,
}

const SPINNER: [char; 10] = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];

impl Display {
    pub fn new() -> Self {
        Self {
            terminal: io::stdout().is_terminal(),
            started: Instant::now(),
            drawn: 0,
            known: BTreeMap::new(),
        }
    }

    /// Shows the present rows.
    pub fn show(&mut self, rows: &[Row]) -> Result<(), Error> {
        let now = self.started.elapsed().as_secs_f64();
        let mut text = String::new();
        for row in rows {
            let old = self.known.get(&row.name);
            if old.is_none_or(|(old, _)| old != row) {
                self.known.insert(row.name.clone(), (row.clone(), now));
                if !self.terminal {
                    text += &line(' ', row, now);
                }
            }
        }
        if self.terminal {
            text = self.block(now);
        }
        let mut out = io::stdout();
        out.write_all(text.as_bytes())
            .map_err(Error::io("standard output"))?;
        out.flush().map_err(Error::io("standard output"))
    }

    /// All rows, over the ones that were drawn before. Lines do not wrap meanwhile, because the way
    /// back up counts lines.
    fn block(&mut self, now: f64) -> String {
        let mut text = String::from("\x1b[?7l");
        if self.drawn > 0 {
            text = format!("{text}\x1b[{}A", self.drawn);
        }
        for (row, since) in self.known.values() {
            let mark = match row.state.as_str() {
                "HEALTHY" => '✓',
                "ERROR" => '✗',
                _ => spinner(now),
            };
            text += "\x1b[2K";
            text += &line(mark, row, *since);
        }
        self.drawn = self.known.len();
        text + "\x1b[?7h"
    }
}

/// The frame of the moment, ten per second.
fn spinner(now: f64) -> char {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "seconds since the start, small and positive"
    )]
    let frame = (now * 10.0) as usize;
    SPINNER[frame % SPINNER.len()]
}

fn line(mark: char, row: &Row, at: f64) -> String {
    let Row {
        name,
        state,
        detail,
    } = row;
    let detail: String = detail.chars().take(100).collect();
    let text = format!("{mark} {at:5.1} s  {name:<16} {state:<12} {detail}");
    format!("{}\n", text.trim_end())
}
