//! A log of another kind: Apache's, in its combined format.

use std::fmt::Write;

/// `lines` lines of it, with the same paths, referrers and browsers again and again, as a site's visitors have them.
pub(crate) fn combined(lines: usize) -> Vec<u8> {
    const PATHS: [&str; 12] = [
        "/",
        "/index.html",
        "/products/",
        "/products/headphones?page=2",
        "/cart",
        "/checkout",
        "/static/css/site.3f9a1c.css",
        "/static/js/app.81be02.js",
        "/static/img/logo.svg",
        "/api/v2/recommendations?limit=20",
        "/favicon.ico",
        "/search?q=noise+cancelling",
    ];
    const STATUS: [u16; 8] = [200, 200, 200, 200, 200, 304, 301, 404];
    const REFERRERS: [&str; 5] = [
        "-",
        "https://www.example.com/",
        "https://www.example.com/products/",
        "https://search.example.org/?q=headphones",
        "https://m.example.com/cart",
    ];
    const BROWSERS: [&str; 6] = [
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 \
         Mobile/15E148 Safari/604.1",
        "Mozilla/5.0 (Linux; Android 16; SM-S928N) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15",
        "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
        "Mozilla/5.0 (compatible; ExampleBot/2.1; +https://bot.example.net/)",
    ];
    let mut random = fastrand::Rng::with_seed(7);
    let visitors: Vec<(u32, usize)> = (0..500).map(|_| (random.u32(..), random.usize(..BROWSERS.len()))).collect();
    let mut text = String::new();
    for line in 0..lines {
        let (address, browser) = visitors[random.usize(..visitors.len())];
        let [a, b, c, d] = address.to_be_bytes();
        let second = line / 40;
        let (path, status) = (PATHS[random.usize(..PATHS.len())], STATUS[random.usize(..STATUS.len())]);
        let bytes = if status == 304 { 0 } else { random.u32(180..60_000) };
        let (referrer, browser) = (REFERRERS[random.usize(..REFERRERS.len())], BROWSERS[browser]);
        writeln!(
            text,
            "{a}.{b}.{c}.{d} - - [22/Nov/2026:{:02}:{:02}:{:02} +0900] \"GET {path} HTTP/1.1\" {status} {bytes} \
             \"{referrer}\" \"{browser}\"",
            9 + second / 3_600,
            second / 60 % 60,
            second % 60,
        )
        .expect("a string takes everything");
    }
    text.into_bytes()
}
