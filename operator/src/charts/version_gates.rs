//! Lines that start with `%%` in files that are no handlebars templates. They decide which lines of the file a minor has.
//!
//! ```text
//! %% since 1.28
//! for 1.28 and newer
//! %% else
//! for older minors
//! %% end
//! ```
//! `%% until 1.27` holds up to and including 1.27. Gates nest.

use crate::catalogue::parse_minor;

/// Why the gates of a file cannot be resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GateError {
    /// The line of the gate, counted from 1.
    pub(super) line: usize,
    /// What is wrong with the gate.
    pub(super) message: String,
}

/// A gate whose `%% end` was not read yet.
struct OpenGate {
    line: usize,
    holds: bool,
    has_else: bool,
}

/// The lines of `text` that `minor` has, without the gates.
pub(super) fn resolve(text: &str, minor: u16) -> Result<String, GateError> {
    let mut kept = String::with_capacity(text.len());
    let mut open: Vec<OpenGate> = Vec::new();
    for (index, line) in text.split_inclusive('\n').enumerate() {
        match line.strip_prefix("%%") {
            None if open.iter().all(|gate| gate.holds) => kept.push_str(line),
            None => {}
            Some(gate) => {
                let number = index + 1;
                apply_gate(&mut open, gate.trim(), number, minor).map_err(|message| GateError {
                    line: number,
                    message,
                })?;
            }
        }
    }
    match open.last() {
        Some(gate) => Err(GateError {
            line: gate.line,
            message: "gate without an end".to_owned(),
        }),
        None => Ok(kept),
    }
}

/// Opens a gate, turns it at its `else`, or closes it at its `end`.
fn apply_gate(open: &mut Vec<OpenGate>, gate: &str, line: usize, minor: u16) -> Result<(), String> {
    let bound = |text: &str| {
        parse_minor(text.trim()).ok_or_else(|| format!("{:?} is not a minor", text.trim()))
    };
    if let Some(first) = gate.strip_prefix("since ") {
        open.push(OpenGate {
            line,
            holds: minor >= bound(first)?,
            has_else: false,
        });
    } else if let Some(last) = gate.strip_prefix("until ") {
        open.push(OpenGate {
            line,
            holds: minor <= bound(last)?,
            has_else: false,
        });
    } else if gate == "else" {
        let gate = open
            .last_mut()
            .filter(|gate| !gate.has_else)
            .ok_or("else without a gate")?;
        gate.holds = !gate.holds;
        gate.has_else = true;
    } else if gate == "end" {
        open.pop().ok_or("end without a gate")?;
    } else {
        return Err(format!("unknown gate {gate:?}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "a\n%% since 1.28\nb\n%% until 1.29\nc\n%% else\nd\n%% end\n%% else\ne\n%% end\nf";

    #[test]
    fn gates_nest() {
        assert_eq!(resolve(TEXT, 27).unwrap(), "a\ne\nf");
        assert_eq!(resolve(TEXT, 28).unwrap(), "a\nb\nc\nf");
        assert_eq!(resolve(TEXT, 30).unwrap(), "a\nb\nd\nf");
    }

    #[test]
    fn broken_gates_name_their_line() {
        let line = |text: &str| resolve(text, 28).unwrap_err().line;
        assert_eq!(line("a\n%% since 1.28\nb"), 2);
        assert_eq!(line("%% end"), 1);
        assert_eq!(line("%% since 1.28\n%% else\n%% else\n%% end"), 3);
        assert_eq!(line("%% since x\n%% end"), 1);
        assert_eq!(line("\n\n%% maybe"), 3);
    }
}
