//! The table that the benchmark prints.

use std::time::Duration;

use e2e::host::process::Usage;

/// One line of the table.
pub struct Row {
    pub what: &'static str,
    pub measured: String,
    pub budget: &'static str,
    pub upstream: String,
}

/// One line; `upstream` is the same figure of upstream, or `-`.
pub fn row(what: &'static str, measured: String, budget: &'static str, upstream: &str) -> Row {
    Row {
        what,
        measured,
        budget,
        upstream: upstream.to_string(),
    }
}

/// A time for people.
pub fn milliseconds(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1000.0;
    if milliseconds < 10.0 {
        format!("{milliseconds:.1} ms")
    } else {
        format!("{milliseconds:.0} ms")
    }
}

/// A size for people.
#[allow(
    clippy::cast_precision_loss,
    reason = "a size is shown with one digit after the point"
)]
pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// The resident memory of a process for people.
pub fn memory(usage: Usage) -> String {
    let (resident, peak) = (mebibytes(usage.resident), mebibytes(usage.peak));
    format!("{resident}, peak {peak}")
}

/// Prints the lines as a table.
pub fn print(rows: &[Row]) {
    let width = |text: fn(&Row) -> &str| rows.iter().map(|row| text(row).len()).max().unwrap_or(0);
    let (what, measured, budget) = (
        width(|row| row.what),
        width(|row| &row.measured),
        width(|row| row.budget),
    );
    println!();
    for row in rows {
        println!(
            "{:what$}  {:measured$}  budget {:budget$}  upstream {}",
            row.what, row.measured, row.budget, row.upstream
        );
    }
}

/// Prints a table with one line for each size.
pub fn print_growth<const N: usize>(head: [&str; N], rows: &[[String; N]]) {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].len());
        cells.chain([head[column].len()]).max().unwrap_or(0)
    };
    let line = |cells: [&str; N]| {
        let padded = cells.iter().enumerate();
        let padded = padded.map(|(column, cell)| format!("{cell:width$}", width = width(column)));
        println!("{}", padded.collect::<Vec<_>>().join("  ").trim_end());
    };
    println!();
    line(head);
    for row in rows {
        line(row.each_ref().map(String::as_str));
    }
}
