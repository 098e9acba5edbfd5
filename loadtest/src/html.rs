//! Outcomes as one HTML page that needs nothing beside itself: tables, and plots as inline SVG.

use crate::{measure::Outcome, report::Second, table::Table};
use std::fmt::Write;

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 170.0;
/// Room for the scale at the left and below.
const LEFT: f64 = 52.0;
const BELOW: f64 = 22.0;
const COLOURS: [&str; 9] =
    ["#1f6feb", "#d29922", "#2da44e", "#cf222e", "#8250df", "#0a7ea4", "#bf3989", "#57606a", "#9a6700"];

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:1000px;margin:2em auto;padding:0 1em;color:#1f2328}\
h1{font-size:1.5em}h2{margin-top:2em;border-bottom:1px solid #d0d7de}pre{background:#f6f8fa;padding:1em;overflow-x:auto;font-size:12.5px}\
figure{display:inline-block;margin:0 1em 1em 0;vertical-align:top}figcaption{font-weight:600}svg{background:#fff}\
.key{font-size:12px;color:#57606a}.key b{display:inline-block;width:.8em;height:.8em;margin:0 .3em 0 .8em}";

/// One line of a plot.
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

/// The page: each outcome under its name.
#[must_use]
pub fn page(title: &str, outcomes: &[(String, &Outcome)]) -> String {
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{0}</title><style>{STYLE}</style><h1>{0}</h1>",
        escape(title)
    );
    if let Some((_, first)) = outcomes.first() {
        let machine = &first.machine;
        // writing to a string does not fail
        let _ = write!(
            html,
            "<p>{}, {} cores, Linux {}</p>",
            escape(&machine.processor),
            machine.cores,
            escape(&machine.kernel)
        );
    }
    for (name, outcome) in outcomes {
        section(&mut html, name, outcome);
    }
    html.push_str("</html>\n");
    html
}

fn section(html: &mut String, name: &str, outcome: &Outcome) {
    let _ = write!(html, "<h2>{}</h2><pre>{}</pre>", escape(name), escape(&Table(outcome).to_string()));
    let series = &outcome.report.series;
    let of = |name: &str, value: &dyn Fn(&Second) -> Option<f64>| Line {
        name: name.to_owned(),
        points: series.iter().filter_map(|second| Some((number(second.at), value(second)?))).collect(),
    };
    let when = |count: u64, value: f64| (count > 0).then_some(value);
    plot(
        html,
        "Latency from the intended send, ms",
        &[
            of("accepted p50", &|s| when(s.submit.count, s.submit.p50)),
            of("accepted p99", &|s| when(s.submit.count, s.submit.p99)),
            of("end p50", &|s| when(s.complete.count, s.complete.p50)),
            of("end p99", &|s| when(s.complete.count, s.complete.p99)),
        ],
    );
    plot(
        html,
        "Orders a second",
        &[of("accepted", &|s| Some(number(s.accepted))), of("ended", &|s| Some(number(s.ended)))],
    );
    plot(html, "Lag: accepted orders not ended", &[of("open", &|s| Some(number(s.open)))]);
    let lines: Vec<Line> = outcome
        .spent
        .iter()
        .enumerate()
        .map(|(index, spent)| Line {
            name: spent.name.clone(),
            points: outcome
                .samples
                .iter()
                .filter_map(|sample| Some((number(sample.at), *sample.cores.get(index)?)))
                .collect(),
        })
        .collect();
    plot(html, "CPU, cores", &lines);
    bars(html, outcome);
}

/// CPU of each order, by process.
fn bars(html: &mut String, outcome: &Outcome) {
    let most = outcome.spent.iter().map(|spent| spent.micros_per_order).fold(1.0, f64::max);
    let height = 22.0 * number(outcome.spent.len() as u64);
    let _ = write!(
        html,
        "<figure><figcaption>CPU of an order, µs</figcaption><svg width=\"{WIDTH}\" height=\"{height}\">"
    );
    for ((index, spent), colour) in (0..).zip(&outcome.spent).zip(COLOURS.iter().cycle()) {
        let (y, width) = (22.0 * f64::from(index), spent.micros_per_order / most * (WIDTH - 220.0));
        let _ = write!(
            html,
            "<text x=\"0\" y=\"{:.0}\" font-size=\"12\">{}</text><rect x=\"130\" y=\"{:.0}\" width=\"{width:.1}\" height=\"14\" fill=\"{colour}\"/>\
             <text x=\"{:.0}\" y=\"{:.0}\" font-size=\"12\">{:.1}</text>",
            y + 14.0,
            escape(&spent.name),
            y + 3.0,
            width + 136.0,
            y + 14.0,
            spent.micros_per_order
        );
    }
    html.push_str("</svg></figure>");
}

fn plot(html: &mut String, title: &str, lines: &[Line]) {
    let points = || lines.iter().flat_map(|line| &line.points);
    let (right, top) = points().fold((1.0_f64, 0.0_f64), |(x, y), point| (x.max(point.0), y.max(point.1)));
    let top = round_up(top);
    let at = |(x, y): (f64, f64)| {
        (LEFT + x / right * (WIDTH - LEFT - 8.0), (HEIGHT - BELOW) - y / top * (HEIGHT - BELOW - 10.0))
    };
    let _ = write!(
        html,
        "<figure><figcaption>{}</figcaption><svg width=\"{WIDTH}\" height=\"{HEIGHT}\">",
        escape(title)
    );
    for part in 0..=4 {
        let value = top * f64::from(part) / 4.0;
        let (x, y) = at((0.0, value));
        let _ = write!(
            html,
            "<line x1=\"{x}\" x2=\"{:.0}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#d0d7de\"/>\
             <text x=\"{:.0}\" y=\"{:.1}\" font-size=\"11\" text-anchor=\"end\">{}</text>",
            WIDTH - 8.0,
            x - 5.0,
            y + 4.0,
            short(value)
        );
    }
    let _ = write!(
        html,
        "<text x=\"{LEFT}\" y=\"{0:.0}\" font-size=\"11\">0 s</text><text x=\"{1:.0}\" y=\"{0:.0}\" font-size=\"11\" text-anchor=\"end\">{right:.0} s</text>",
        HEIGHT - 5.0,
        WIDTH - 8.0
    );
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let path: Vec<String> =
            line.points.iter().map(|point| at(*point)).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = write!(
            html,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" points=\"{}\"/>",
            path.join(" ")
        );
    }
    html.push_str("</svg><div class=\"key\">");
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let _ = write!(html, "<b style=\"background:{colour}\"></b>{}", escape(&line.name));
    }
    html.push_str("</div></figure>");
}

/// The next of 1, 2, 5 times a power of ten.
fn round_up(value: f64) -> f64 {
    let power = 10.0_f64.powf(value.max(0.001).log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * power).find(|step| *step >= value).unwrap_or(power)
}

fn short(value: f64) -> String {
    match value {
        v if v >= 10_000.0 => format!("{:.0}k", v / 1_000.0),
        v if v >= 10.0 || v == 0.0 => format!("{v:.0}"),
        v if v >= 1.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

#[expect(clippy::cast_precision_loss, reason = "what is plotted is far below 2^52")]
fn number(count: u64) -> f64 {
    count as f64
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_end_at_round_numbers() {
        let pairs = [(0.0, 0.001), (0.3, 0.5), (1.0, 1.0), (1.1, 2.0), (730.0, 1_000.0), (4_999.0, 5_000.0)];
        for (value, top) in pairs {
            assert!((round_up(value) - top).abs() < 1e-9, "{value}: {}", round_up(value));
        }
    }

    #[test]
    fn names_cannot_break_the_page() {
        assert_eq!(escape("<a & \"b\">"), "&lt;a &amp; &quot;b&quot;&gt;");
        let mut html = String::new();
        plot(&mut html, "<x>", &[Line { name: "<y>".to_owned(), points: vec![(0.0, 1.0), (1.0, 2.0)] }]);
        assert!(
            html.contains("&lt;x&gt;")
                && html.contains("&lt;y&gt;")
                && html.matches("<polyline").count() == 1
        );
    }
}
