//! How answers are shown: tables for people, JSON for programs.

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use crate::failure::{Outcome, say};

/// A table without lines, so that `awk` and `cut` read it as well.
pub fn table(header: &[&str], rows: Vec<Vec<String>>) -> Outcome {
    say(render(header, rows))
}

fn render(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().copied());
    table.add_rows(rows);
    table.trim_fmt()
}

/// One JSON document.
pub fn json(value: &Value) -> Outcome {
    say(value)
}

/// `1,2,3`.
pub fn list<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::{list, render};

    #[test]
    fn a_table_lines_up_its_columns() {
        let text = render(&["NAME", "N"], vec![vec!["long-name".to_owned(), "1".to_owned()]]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0].find('N').map(|_| lines.len()), Some(2));
        assert_eq!(lines[0].rfind('N'), lines[1].rfind('1'));
        assert_eq!(list([1, 2]), "1,2");
    }
}
