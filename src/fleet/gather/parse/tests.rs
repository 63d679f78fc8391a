use super::*;

const PAGE: &str = "# HELP a_total A \\\\ \"b\".
# TYPE a_total counter
a_total 9007199254740993
a_total{x=\"\\\\ \\\"\\n, le={}\",y=\"µ\"} 2.5
# HELP g G
# TYPE g gauge
g{worker=\"w\",exported_worker=\"e\"} NaN
g{worker=\"w\"} -Inf
# HELP h H
# TYPE h histogram
h_bucket{x=\"1\",le=\"1e-05\"} 1
h_bucket{x=\"1\",le=\"+Inf\"} 3
h_count{x=\"1\"} 3
h_sum{x=\"1\"} 1e21
h_bucket{le=\"+Inf\"} 0
";

fn series(labels: &str, value: Value) -> Series {
    Series { labels: labels.into(), value }
}

fn float_value(value: f64) -> Value {
    Value::Number(value.into())
}

#[test]
fn the_exporters_page_is_read() {
    let families = parse(PAGE).unwrap();
    let [counter, gauge, histogram] = &families[..] else { panic!("{families:?}") };
    assert_eq!((counter.name.as_str(), counter.kind), ("a_total", Kind::Counter));
    assert_eq!(counter.help, "A \\\\ \"b\".");
    let first = series("", Value::Number(Number::Int((1 << 53) + 1)));
    assert_eq!(counter.series, [first, series("x=\"\\\\ \\\"\\n, le={}\",y=\"µ\"", float_value(2.5))]);
    let gauges: Vec<_> = gauge.series.iter().map(|series| &*series.labels).collect();
    let renamed = "exported_worker=\"e\",exported_exported_worker=\"w\"";
    assert_eq!(gauges, [renamed, "exported_worker=\"w\""]);
    assert_eq!(gauge.series[1].value, float_value(f64::NEG_INFINITY));
    let buckets = vec![(1e-5, Number::Int(1)), (f64::INFINITY, Number::Int(3))];
    let sum = Some(1e21.into());
    let with_sum = Value::Histogram(Box::new(Histogram { buckets, sum }));
    let buckets = vec![(f64::INFINITY, Number::Int(0))];
    let without = Value::Histogram(Box::new(Histogram { buckets, sum: None }));
    assert_eq!(histogram.series, [series("x=\"1\"", with_sum), series("", without)]);
    assert_eq!(parse(""), Ok(Vec::new()));
}

#[test]
fn what_a_sidecar_does_not_write_is_refused() {
    for (line, page) in [
        (1, "a 1\n"),
        (1, "<html>\n"),
        (1, "\n"),
        (1, "# EOF\n"),
        (1, "# TYPE a gauge\n"),
        (2, "# HELP a A\na 1\n"),
        (2, "# HELP a A\n# TYPE b gauge\n"),
        (2, "# HELP a A\n# TYPE a summary\n"),
        (2, "# HELP a A\n# TYPE a counter\n"),
        (2, "# HELP 1a A\n# TYPE 1a gauge\n"),
        (4, "# HELP a A\n# TYPE a gauge\n# HELP a A\n# TYPE a gauge\n"),
        (3, "# HELP a A\n# TYPE a gauge\nab 1\n"),
        (3, "# HELP a A\n# TYPE a gauge\na\n"),
        (3, "# HELP a A\n# TYPE a gauge\na 1 2\n"),
        (3, "# HELP a A\n# TYPE a gauge\na inf\n"),
        (3, "# HELP a A\n# TYPE a gauge\na{} 1\n"),
        (3, "# HELP a A\n# TYPE a gauge\na{x=\"1\" 1\n"),
        (3, "# HELP a A\n# TYPE a gauge\na{x=\"1\\\"} 1\n"),
        (3, "# HELP a A\n# TYPE a gauge\na{x=\"\\x\"} 1\n"),
        (3, "# HELP a A\n# TYPE a gauge\na{x=\"1\",x=\"2\"} 1\n"),
        (3, "# HELP a A\n# TYPE a gauge\na{x y=\"1\"} 1\n"),
        (3, "# HELP a A\n# TYPE a gauge\na{x=\"1\",} 1\n"),
        (4, "# HELP a A\n# TYPE a gauge\na 1\na 2\n"),
        (4, "# HELP a A\n# TYPE a gauge\na{x=\"1\",y=\"2\"} 1\na{y=\"2\",x=\"1\",z=\"\"} 2\n"),
        (3, "# HELP h H\n# TYPE h histogram\nh_count 1\n"),
        (3, "# HELP h H\n# TYPE h histogram\nh 1\n"),
        (3, "# HELP h H\n# TYPE h histogram\nh_bucket{le=\"1.0\"} 1\n"),
        (3, "# HELP h H\n# TYPE h histogram\nh_bucket{x=\"1.0\"} 1\n"),
        (4, "# HELP h H\n# TYPE h histogram\nh_bucket{le=\"2.0\"} 1\nh_bucket{le=\"1.0\"} 1\n"),
        (4, "# HELP h H\n# TYPE h histogram\nh_bucket{le=\"1.0\"} 1\nh_sum 1\n"),
        (5, "# HELP h H\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n"),
        (3, "# HELP a A\n# TYPE a gauge\na{__name__=\"b\"} 1\n"),
        (2, "# HELP a a\\x\n# TYPE a gauge\n"),
    ] {
        assert_eq!(parse(page), Err(PageError::Line(line)), "{page}");
    }
    assert_eq!(parse(&"# HELP a A\n# TYPE a gauge\n".repeat(MAX_LINES)), Err(PageError::Line(4)));
    let lines = (0..MAX_LINES).map(|number| format!("g{{x=\"{number}\"}} 1")).collect::<Vec<_>>();
    let long = format!("# HELP g G\n# TYPE g gauge\n{}", lines.join("\n"));
    assert_eq!(parse(&long), Err(PageError::TooLong));
}
