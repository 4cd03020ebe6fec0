//! A log of another kind: Apache's, in its combined format.

use std::fmt::Write;

/// `lines` lines of it, as the visitors of a shop have them: some paths, referrers and browsers again and again, and in between
/// pages and searches that are asked for once. GNU gzip -1 makes a seventh of it.
pub(crate) fn combined(lines: usize) -> Vec<u8> {
    const PATHS: [&str; 8] = [
        "/",
        "/cart",
        "/checkout",
        "/static/css/site.3f9a1c.css",
        "/static/js/app.81be02.js",
        "/static/img/logo.svg",
        "/api/v2/recommendations?limit=20",
        "/favicon.ico",
    ];
    const WORDS: [&str; 10] =
        ["noise", "cancelling", "headphones", "speaker", "wireless", "cable", "stand", "case", "black", "small"];
    const STATUS: [u16; 8] = [200, 200, 200, 200, 200, 304, 301, 404];
    let mut random = fastrand::Rng::with_seed(7);
    let browsers: Vec<String> = (0..40).map(|number| browser(number, &mut random)).collect();
    let visitors: Vec<_> = (0..2_000).map(|_| (random.u32(..), random.usize(..browsers.len()))).collect();
    let page = |random: &mut fastrand::Rng| match random.u8(..10) {
        0..5 => PATHS[random.usize(..PATHS.len())].to_owned(),
        5..9 => format!("/products/{}/{}", WORDS[random.usize(..WORDS.len())], random.u32(10_000..90_000)),
        _ => format!("/search?q={}+{}", WORDS[random.usize(..WORDS.len())], WORDS[random.usize(..WORDS.len())]),
    };
    let mut text = String::new();
    for line in 0..lines {
        let (address, browser) = visitors[random.usize(..visitors.len())];
        let [a, b, c, d] = address.to_be_bytes();
        let second = line / 40;
        let (path, status) = (page(&mut random), STATUS[random.usize(..STATUS.len())]);
        let bytes = if status == 304 { 0 } else { random.u32(180..60_000) };
        let from =
            if random.u8(..3) == 0 { "-".to_owned() } else { format!("https://www.example.com{}", page(&mut random)) };
        writeln!(
            text,
            "{a}.{b}.{c}.{d} - - [22/Nov/2026:{:02}:{:02}:{:02} +0900] \"GET {path} HTTP/1.1\" {status} {bytes} \
             \"{from}\" \"{}\"",
            9 + second / 3_600,
            second / 60 % 60,
            second % 60,
            browsers[browser],
        )
        .expect("a string takes everything");
    }
    text.into_bytes()
}

/// What a browser says of itself.
fn browser(number: usize, random: &mut fastrand::Rng) -> String {
    let major = random.u8(120..145);
    match number % 4 {
        0 => format!(
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{major}.0.0.0 Safari/537.36"
        ),
        1 => format!(
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_{} like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.{} \
             Mobile/15E148 Safari/604.1",
            major % 7,
            major % 7
        ),
        2 => format!(
            "Mozilla/5.0 (Linux; Android 16; SM-S{}N) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{major}.0.0.0 Mobile \
             Safari/537.36",
            random.u16(900..940)
        ),
        _ => format!("Mozilla/5.0 (X11; Linux x86_64; rv:{major}.0) Gecko/20100101 Firefox/{major}.0"),
    }
}
