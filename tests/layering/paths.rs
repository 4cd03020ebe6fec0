//! The paths that Rust source names: `a::b::{c, d::e}` is `a::b::c` and `a::b::d::e`.
//!
//! This is no parser of Rust. It knows comments, strings, braces and `#[cfg(test)]`, which is enough to read paths.

use std::{iter::Peekable, str::Chars};

/// A path with at least one `::`, or what a `use` names.
#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) segments: Vec<String>,
    /// How many inline modules it stands in.
    pub(crate) depth: usize,
}

/// Every path in `source` outside of what is compiled for tests only.
pub(crate) fn paths(source: &str) -> Vec<Path> {
    let tokens = without_tests(&tokens(source));
    let mut paths = Vec::new();
    // Whether each brace that is open opened a module.
    let mut braces: Vec<bool> = Vec::new();
    for at in 0..tokens.len() {
        let before = |back: usize| at.checked_sub(back).map_or("", |at| tokens[at].as_str());
        match tokens[at].as_str() {
            "{" => braces.push(is_word(before(1)) && before(2) == "mod"),
            "}" => drop(braces.pop()),
            token if is_word(token) => {
                let continues = before(1) == "::" && (is_word(before(2)) || before(2) == ">");
                let in_group = group_of_path(&tokens, at);
                let begins = tokens.get(at + 1).is_some_and(|next| next == "::") || before(1) == "use";
                if begins && !continues && !in_group {
                    let depth = braces.iter().filter(|module| **module).count();
                    let mut segments = Vec::new();
                    expand(&tokens, at, &mut Vec::new(), &mut segments);
                    paths.extend(segments.into_iter().map(|segments| Path { segments, depth }));
                }
            }
            _ => {}
        }
    }
    paths
}

/// Whether the word at `at` stands in a group such as `a::{…}`, and so belongs to a path that began before.
fn group_of_path(tokens: &[String], at: usize) -> bool {
    let mut open = 0;
    for back in (0..at).rev() {
        match tokens[back].as_str() {
            "}" => open += 1,
            "{" if open > 0 => open -= 1,
            "{" => return back > 0 && tokens[back - 1] == "::",
            ";" if open == 0 => return false,
            _ => {}
        }
    }
    false
}

/// Adds to `paths` every path that begins at `at` behind `prefix`, and returns where it ends.
fn expand(tokens: &[String], mut at: usize, prefix: &mut Vec<String>, paths: &mut Vec<Vec<String>>) -> usize {
    let before = prefix.len();
    let token = |at: usize| tokens.get(at).map_or("", String::as_str);
    loop {
        if token(at) == "{" {
            at += 1;
            while !matches!(token(at), "}" | "") {
                at = if is_word(token(at)) || token(at) == "*" { expand(tokens, at, prefix, paths) } else { at + 1 };
            }
            break;
        }
        if is_word(token(at)) || token(at) == "*" {
            prefix.push(token(at).to_owned());
        }
        if token(at + 1) != "::" || !(is_word(token(at + 2)) || matches!(token(at + 2), "{" | "*")) {
            paths.push(prefix.clone());
            break;
        }
        at += 2;
    }
    prefix.truncate(before);
    at + 1
}

fn is_word(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// `tokens` without the items behind `#[cfg(test)]`.
fn without_tests(tokens: &[String]) -> Vec<String> {
    const CFG_TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::with_capacity(tokens.len());
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at..].iter().take(CFG_TEST.len()).eq(CFG_TEST) {
            at = end_of_item(tokens, at + CFG_TEST.len());
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// Where the item that begins at `at` ends: behind its `;`, or behind its block.
fn end_of_item(tokens: &[String], mut at: usize) -> usize {
    let mut open = 0_usize;
    let mut in_use = false;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token.as_str() {
            "use" => in_use = true,
            "{" | "(" | "[" => open += 1,
            "}" | ")" | "]" => open -= 1,
            _ => {}
        }
        if open == 0 && (token == ";" || token == "}" && !in_use) {
            break;
        }
    }
    at
}

/// Words, `::` and single characters; no comments, no strings, no lifetimes.
fn tokens(source: &str) -> Vec<String> {
    let mut rest = source.chars().peekable();
    let mut tokens: Vec<String> = Vec::new();
    while let Some(first) = rest.next() {
        let second = rest.peek().copied().unwrap_or(' ');
        match first {
            '/' if second == '/' => drop(rest.by_ref().find(|c| *c == '\n')),
            '/' if second == '*' => skip_comment(&mut rest),
            '"' => {
                let word = tokens.last().map_or("", String::as_str);
                if matches!(word, "r" | "br" | "cr") { skip_raw(&mut rest, 0) } else { skip_string(&mut rest, '"') }
            }
            '#' if tokens.last().is_some_and(|word| matches!(word.as_str(), "r" | "br" | "cr")) => {
                let mut hashes = 1;
                while rest.next_if_eq(&'#').is_some() {
                    hashes += 1;
                }
                if rest.next_if_eq(&'"').is_some() {
                    skip_raw(&mut rest, hashes);
                }
            }
            '\'' => {
                let mut ahead = rest.clone();
                ahead.next();
                // A character, or else a lifetime, whose name becomes a word that no path has.
                if second == '\\' || ahead.next() == Some('\'') {
                    skip_string(&mut rest, '\'');
                } else {
                    while rest.next_if(|c| c.is_alphanumeric() || *c == '_').is_some() {}
                }
            }
            // An arrow is no end of a generic argument, behind which a path would go on.
            '-' | '=' if second == '>' => {
                rest.next();
                tokens.push("->".into());
            }
            ':' if second == ':' => {
                rest.next();
                tokens.push("::".into());
            }
            _ if first.is_alphanumeric() || first == '_' => {
                let mut word = String::from(first);
                while let Some(next) = rest.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    word.push(next);
                }
                tokens.push(word);
            }
            _ if first.is_whitespace() => {}
            _ => tokens.push(first.into()),
        }
    }
    tokens
}

/// Skips a comment behind its `/`, with those in it.
fn skip_comment(rest: &mut Peekable<Chars<'_>>) {
    let mut open = 0;
    let mut last = '/';
    for next in rest {
        match (last, next) {
            ('/', '*') => open += 1,
            ('*', '/') => open -= 1,
            _ => {
                last = next;
                continue;
            }
        }
        if open == 0 {
            break;
        }
        last = ' ';
    }
}

fn skip_string(rest: &mut Peekable<Chars<'_>>, end: char) {
    while let Some(next) = rest.next() {
        if next == '\\' {
            rest.next();
        } else if next == end {
            break;
        }
    }
}

/// Skips a raw string behind its opening quote; it ends at a quote with as many hashes.
fn skip_raw(rest: &mut Peekable<Chars<'_>>, hashes: usize) {
    while let Some(next) = rest.next() {
        if next == '"' && (0..hashes).all(|_| rest.next_if_eq(&'#').is_some()) {
            break;
        }
    }
}
