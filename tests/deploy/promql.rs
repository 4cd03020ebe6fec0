//! The names in an expression of Prometheus: which metrics it selects, by which labels, and by which it groups.
//!
//! Whether an expression is one, promtool tells. What it does not tell is whether anybody has these metrics.

use std::collections::BTreeSet;

/// What an expression names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    /// Each selector.
    pub(crate) selectors: Vec<Selector>,
    /// The labels of `by`, `without`, `on`, `ignoring`, `group_left` and `group_right`.
    pub(crate) labels: BTreeSet<String>,
}

/// `name{label="value"}`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Selector {
    pub(crate) name: String,
    /// Label, operator and value.
    pub(crate) matchers: Vec<(String, String, String)>,
}

/// A piece of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Word(String),
    Text(String),
    Sign(char),
}

const LISTS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
const OPERATORS: [&str; 9] = ["and", "or", "unless", "offset", "bool", "atan2", "inf", "nan", "end"];

/// What `expression` names.
pub(crate) fn names(expression: &str) -> Names {
    let tokens = tokens(expression);
    let mut names = Names::default();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            Token::Word(word) if LISTS.contains(&word.to_lowercase().as_str()) => {
                if tokens.get(at) == Some(&Token::Sign('(')) {
                    while tokens[at] != Token::Sign(')') {
                        if let Token::Word(label) = &tokens[at] {
                            names.labels.insert(label.clone());
                        }
                        at += 1;
                    }
                }
            }
            Token::Word(word) if OPERATORS.contains(&word.to_lowercase().as_str()) => {}
            // A function, or an aggregation without a list before its operand.
            Token::Word(_) if tokens.get(at) == Some(&Token::Sign('(')) => {}
            Token::Word(word) if is_aggregation(word) => {}
            Token::Word(word) => {
                let mut matchers = Vec::new();
                if tokens.get(at) == Some(&Token::Sign('{')) {
                    at += 1;
                    (matchers, at) = self::matchers(&tokens, at, expression);
                }
                names.selectors.push(Selector { name: word.clone(), matchers });
            }
            Token::Sign('[') => at += tokens[at..].iter().position(|token| *token == Token::Sign(']')).unwrap() + 1,
            Token::Sign('{') => panic!("a selector without a name in {expression}"),
            Token::Text(_) | Token::Sign(_) => {}
        }
    }
    names
}

fn is_aggregation(word: &str) -> bool {
    matches!(
        word,
        "count_values" | "sum" | "min" | "max" | "avg" | "count" | "topk" | "bottomk" | "quantile" | "stddev" | "group"
    )
}

/// The matchers that begin at `at`, and where they end.
fn matchers(tokens: &[Token], mut at: usize, expression: &str) -> (Vec<(String, String, String)>, usize) {
    let mut matchers = Vec::new();
    while tokens[at] != Token::Sign('}') {
        let Token::Word(label) = &tokens[at] else { panic!("no label at {:?} in {expression}", tokens[at]) };
        at += 1;
        let mut operator = String::new();
        while let Token::Sign(sign @ ('=' | '!' | '~')) = tokens[at] {
            operator.push(sign);
            at += 1;
        }
        let Token::Text(value) = &tokens[at] else { panic!("no value of {label} in {expression}") };
        matchers.push((label.clone(), operator, value.clone()));
        at += 1;
        if tokens[at] == Token::Sign(',') {
            at += 1;
        }
    }
    (matchers, at + 1)
}

fn tokens(expression: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = expression;
    while let Some(first) = rest.chars().next() {
        let len = match first {
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '"' | '\'' | '`' => {
                let (text, len) = text(rest, first);
                tokens.push(Token::Text(text));
                len
            }
            // A number or a duration; and what Grafana puts in the place of one.
            '0'..='9' | '.' | '$' => span(rest, |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '$')),
            _ if first.is_ascii_alphabetic() || first == '_' => {
                let len = span(rest, |c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'));
                tokens.push(Token::Word(rest[..len].to_owned()));
                len
            }
            _ => {
                if !first.is_whitespace() {
                    tokens.push(Token::Sign(first));
                }
                first.len_utf8()
            }
        };
        rest = &rest[len..];
    }
    tokens
}

fn span(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|c| !belongs(c)).unwrap_or(text.len())
}

/// The text between `quote` and the next, and its length with both.
fn text(rest: &str, quote: char) -> (String, usize) {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if quote != '`' => text.extend(chars.next().map(|(_, escaped)| escaped)),
            _ if c == quote => return (text, at + 1),
            _ => text.push(c),
        }
    }
    panic!("a text without an end: {rest}")
}

#[test]
fn an_expression_s_metrics_and_labels_are_told_from_its_functions_numbers_and_texts() {
    let found = names(
        r#"histogram_quantile(0.99, sum by (job, le) (rate(a_bucket{job=~"x|y", le!='+Inf'}[5m:1m] offset 1h))) # c_total
           > on (job) group_left (version) max without (instance) (b{text="d{e=\"f\"}"} > bool 1e3) or -job:r:sum[$__i]"#,
    );
    let found_names: Vec<_> = found.selectors.iter().map(|selector| selector.name.as_str()).collect();
    assert_eq!(found_names, ["a_bucket", "b", "job:r:sum"]);
    let matcher = |label: &str, operator: &str, value: &str| (label.to_owned(), operator.to_owned(), value.to_owned());
    assert_eq!(found.selectors[0].matchers, [matcher("job", "=~", "x|y"), matcher("le", "!=", "+Inf")]);
    assert_eq!(found.selectors[1].matchers, [matcher("text", "=", "d{e=\"f\"}")]);
    assert_eq!(found.labels.into_iter().collect::<Vec<_>>(), ["instance", "job", "le", "version"]);
}
