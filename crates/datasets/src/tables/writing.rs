//! Rows as a file that is written as the table was.

use std::borrow::Cow;

use super::cells::Cells;
use super::schema::{Content, TableSchema};

impl TableSchema {
    /// The file of these rows: header, separator, quotes, line ends and characters are those of the table. Columns
    /// that are left out are not in it; row numbers are counted anew.
    ///
    /// ```
    /// use datasets::tables::{TableOptions, parse_table};
    ///
    /// let text = "name;price\na;1,50\nb;2,00\na;1,50\nb;2,25\na;1,75\nb;1,50\na;1,25\nb;2,00\na;1,75\nb;1,00\n";
    /// let (schema, cells) = parse_table(text.as_bytes(), &TableOptions::default())?;
    /// assert_eq!(schema.write(&cells), text.as_bytes());
    /// # Ok::<(), datasets::TableError>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If the cells are not of this schema.
    pub fn write(&self, cells: &Cells) -> Vec<u8> {
        let dialect = self.dialect();
        let end = if dialect.crlf { "\r\n" } else { "\n" };
        let columns: Vec<usize> = (0..self.columns().len())
            .filter(|&column| !matches!(self.columns()[column].content, Content::LeftOut { .. }))
            .collect();
        let mut text = String::new();
        let mut line = |fields: &mut dyn Iterator<Item = (Cow<'_, str>, bool)>| {
            for (place, (field, is_quoted)) in fields.enumerate() {
                if place > 0 {
                    text.push(dialect.separator);
                }
                // An empty line would be none.
                let is_quoted = is_quoted || (columns.len() == 1 && field.is_empty());
                push_field(&mut text, &field, is_quoted, dialect.separator);
            }
            text.push_str(end);
        };
        if dialect.header {
            let mut names = columns.iter().map(|&column| {
                let name = self.columns()[column].name.as_str();
                (Cow::Borrowed(name), dialect.quoted_names)
            });
            line(&mut names);
        }
        for row in 0..cells.rows() {
            let mut fields = columns.iter().map(|&column| {
                let described = &self.columns()[column];
                let field = self.text(cells, column, row).unwrap_or_default();
                let is_gap = described.gap.as_deref() == Some(&*field);
                (
                    field,
                    if is_gap {
                        described.quoted_gap
                    } else {
                        described.quoted
                    },
                )
            });
            line(&mut fields);
        }
        dialect.charset.encode(text)
    }
}

/// A field, in quotes where it was or must be.
fn push_field(text: &mut String, field: &str, is_quoted: bool, separator: char) {
    let must_be_quoted = field.contains(['"', '\n', '\r', separator])
        || field.starts_with([' ', '\t'])
        || field.ends_with([' ', '\t'])
        || field.trim().len() != field.len()
        || field.starts_with("# ");
    if is_quoted || must_be_quoted {
        text.push('"');
        text.push_str(&field.replace('"', "\"\""));
        text.push('"');
    } else {
        text.push_str(field);
    }
}
