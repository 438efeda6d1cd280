//! Columns that line up: texts to the left, numbers to the right.

/// Rows under a head, each line ends behind its last cell. Ends without a line feed.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let count = head.len();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    // A column is one of numbers if every cell that says something begins with a digit.
    let is_numbers = |column: usize| {
        let mut cells = rows.iter().filter_map(|row| row.get(column)).filter(|cell| *cell != "-").peekable();
        cells.peek().is_some() && cells.all(|cell| cell.starts_with(|first: char| first.is_ascii_digit()))
    };
    let right: Vec<bool> = (0..count).map(is_numbers).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells
            .zip(widths.iter().zip(&right))
            .map(|(cell, (width, right))| if *right { format!("{cell:>width$}") } else { format!("{cell:<width$}") })
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(&mut head.iter().copied())];
    lines.extend(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))));
    lines
}

/// `1,204,000`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A stretch of time in one unit: `0.3 s`, `12 s`, `4 min`, `3 h`, `2 d`.
pub(crate) fn span(ms: u64) -> String {
    match ms {
        0 => "0 s".to_owned(),
        1..=9_999 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        10_000..=119_999 => format!("{} s", ms / 1_000),
        120_000..=7_199_999 => format!("{} min", ms / 60_000),
        7_200_000..=172_799_999 => format!("{} h", ms / 3_600_000),
        _ => format!("{} d", ms / 86_400_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_go_left_and_numbers_right() {
        let rows =
            [vec!["fraud".to_owned(), "9".to_owned(), "-".to_owned()], vec!["f".to_owned(), "1,200".to_owned(), "x".to_owned()]];
        assert_eq!(table(&["NAME", "LAG", "END"], &rows), ["NAME     LAG  END", "fraud      9  -", "f      1,200  x"]);
        assert_eq!(table(&["NAME"], &[]), ["NAME"]);
    }

    #[test]
    fn numbers_and_spans_for_people() {
        assert_eq!([0, 999, 1_000, 1_204_000].map(grouped), ["0", "999", "1,000", "1,204,000"]);
        assert_eq!([0, 340, 12_500, 600_000, 90_000_000].map(span), ["0 s", "0.3 s", "12 s", "10 min", "25 h"]);
    }
}
