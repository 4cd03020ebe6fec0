//! Tableau: a data source (`.tds`) of a stream's table in Redshift or PostgreSQL.
//!
//! Tableau publishes no grammar of these files. This is the form that [a study of them] describes and that its own
//! [Document API] reads: a `datasource` with a federated `connection` and its `named-connections`, and a `column` for
//! each field. Tests read it as XML; nobody has opened it in Tableau.
//!
//! [a study of them]: https://tableauandbehold.com/2016/06/29/how-tds-twb-files-work-xml/
//! [Document API]: https://tableau.github.io/document-api-python/docs/

use std::fmt::{self, Write};

use super::{Definitions, TargetError};
use crate::{
    schema::FieldType,
    warehouse::{
        Dialect, Table,
        table::{Column, Origin},
    },
};

/// The data source of the only stream.
///
/// # Errors
/// [`TargetError::OneStream`] unless there is exactly one: a file is a data source.
pub fn write(definitions: &Definitions) -> Result<String, TargetError> {
    let [table] = &definitions.tables[..] else {
        return Err(TargetError::OneStream { target: "a Tableau data source", streams: definitions.tables.len() });
    };
    // A role is what Redshift reads the bucket with, and what no other warehouse has.
    let dialect = if definitions.iam_role.is_some() { Dialect::Redshift } else { Dialect::Postgres };
    Ok(data_source(definitions, table, dialect))
}

/// The data source of `table` in a warehouse that speaks `dialect`. Its host and its database are asked for when it is
/// opened, and so are the user and the password.
pub fn data_source(definitions: &Definitions, table: &Table, dialect: Dialect) -> String {
    let (class, port) = match dialect {
        Dialect::Postgres => ("postgres", 5432),
        Dialect::Redshift => ("redshift", 5439),
    };
    let mut out = String::new();
    let stream = attribute(table.stream.as_str());
    let schema = attribute(definitions.names.schema());
    let _ = write!(
        out,
        "<?xml version='1.0' encoding='utf-8' ?>\n\
         <!-- Form: https://tableauandbehold.com/2016/06/29/how-tds-twb-files-work-xml/ -->\n\
         <!-- Not opened in Tableau by those who wrote what wrote it. -->\n\
         <datasource formatted-name='{stream}' inline='true' version='18.1' \
         xmlns:user='http://www.tableausoftware.com/xml/user'>\n  \
           <connection class='federated'>\n    \
             <named-connections>\n      \
               <named-connection caption='{schema}' name='logweir'>\n        \
                 <connection authentication='username-password' class='{class}' dbname='' port='{port}' \
                 schema='{schema}' server='' sslmode='require' username='' />\n      \
               </named-connection>\n    \
             </named-connections>\n    \
             <relation connection='logweir' name='{stream}' table='[{schema}].[{stream}]' type='table' />\n  \
           </connection>\n",
    );
    for column in &table.columns {
        self::column(column, &mut out);
    }
    out.push_str("</datasource>\n");
    out
}

fn column(column: &Column, out: &mut String) {
    let (datatype, role, kind) = match column.kind {
        FieldType::String { .. } | FieldType::Uuid | FieldType::Json { .. } => ("string", "dimension", "nominal"),
        // A number of a device, a channel, a version: what is summed up is the analyst's choice.
        FieldType::Int => ("integer", "dimension", "ordinal"),
        FieldType::Double | FieldType::Decimal { .. } => ("real", "measure", "quantitative"),
        FieldType::Bool => ("boolean", "dimension", "nominal"),
        FieldType::Timestamp => ("datetime", "dimension", "ordinal"),
        FieldType::Date => ("date", "dimension", "ordinal"),
    };
    // What the server writes to tell copies apart is no question of an analyst.
    let hidden = column.origin == Origin::Server && &*column.name != "event_time";
    let _ = writeln!(
        out,
        "  <column caption='{caption}' datatype='{datatype}'{hidden} name='[{name}]' role='{role}' type='{kind}' />",
        caption = attribute(&caption(&column.name)),
        hidden = if hidden { " hidden='true'" } else { "" },
        name = attribute(&column.name),
    );
}

/// `install_date` as `Install date`.
fn caption(name: &str) -> String {
    let words = name.replace('_', " ");
    let mut letters = words.trim().chars();
    letters.next().map_or_else(|| name.to_owned(), |first| first.to_uppercase().chain(letters).collect())
}

/// Text within the quotes of an attribute.
fn attribute(text: &str) -> impl fmt::Display + '_ {
    fmt::from_fn(move |f| {
        for letter in text.chars() {
            match letter {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '\'' => f.write_str("&apos;")?,
                '"' => f.write_str("&quot;")?,
                letter => f.write_char(letter)?,
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_are_words_and_attributes_hold_any_text() {
        assert_eq!(caption("install_date"), "Install date");
        assert_eq!(caption("__"), "__");
        assert_eq!(attribute("<a & 'b'>").to_string(), "&lt;a &amp; &apos;b&apos;&gt;");
    }
}
