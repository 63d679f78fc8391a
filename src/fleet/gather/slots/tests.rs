use super::{
    super::{
        page::{Fetches, LeftOut, Reason, page},
        parse::parse,
        sd,
    },
    *,
};

fn sidecar(pid: u32) -> Sidecar {
    let command = format!("python w\"{pid}\".py");
    Sidecar { worker: Some(pid + 1), command, ..Sidecar::example(pid) }
}

fn begin(slots: &mut Slots, pid: u32) -> usize {
    slots.begin(sidecar(pid), "127.0.0.1:9464".parse().unwrap())
}

/// A page with a counter, a gauge and a histogram with two values.
fn text(counter: i64, gauge: i64) -> String {
    format!(
        "# HELP a_total A.\n# TYPE a_total counter\na_total{{x=\"1\"}} {counter}\n\
         # HELP g G\n# TYPE g gauge\ng {gauge}\n\
         # HELP h H\n# TYPE h histogram\nh_bucket{{le=\"0.25\"}} 1\nh_bucket{{le=\"+Inf\"}} 2\nh_count 2\n\
         h_sum 1.5\n"
    )
}

fn update(slots: &mut Slots, slot: usize, page: &str) {
    slots.update(slot, parse(page).unwrap()).unwrap();
}

/// The page of all workers, without the families of the gatherer itself.
fn shown(slots: &Slots) -> String {
    let page = page(slots, &[], Fetches::default());
    page.split("# HELP telemetry_sidecar_gather").next().unwrap().to_owned()
}

#[test]
fn a_counter_never_falls_when_workers_come_and_go() {
    let mut slots = Slots::default();
    assert_eq!([begin(&mut slots, 10), begin(&mut slots, 20)], [0, 1]);
    update(&mut slots, 0, &text(5, 50));
    update(&mut slots, 1, &text(7, 70));
    assert_eq!(slots.end(0).unwrap().0.pid, 10);
    assert_eq!(
        shown(&slots),
        "# HELP a_total A.\n# TYPE a_total counter\n\
         a_total{worker=\"0\",x=\"1\"} 5\na_total{worker=\"1\",x=\"1\"} 7\n\
         # HELP g G\n# TYPE g gauge\ng{worker=\"1\"} 70\n\
         # HELP h H\n# TYPE h histogram\n\
         h_bucket{worker=\"0\",le=\"0.25\"} 1\nh_bucket{worker=\"0\",le=\"+Inf\"} 2\n\
         h_count{worker=\"0\"} 2\nh_sum{worker=\"0\"} 1.5\n\
         h_bucket{worker=\"1\",le=\"0.25\"} 1\nh_bucket{worker=\"1\",le=\"+Inf\"} 2\n\
         h_count{worker=\"1\"} 2\nh_sum{worker=\"1\"} 1.5\n"
    );
    // The next worker gets the free slot and begins where the other one ended.
    assert_eq!(begin(&mut slots, 30), 0);
    assert!(shown(&slots).contains("a_total{worker=\"0\",x=\"1\"} 5\n"));
    update(&mut slots, 0, &text(1, 51));
    let page = shown(&slots);
    for line in [
        "a_total{worker=\"0\",x=\"1\"} 6",
        "g{worker=\"0\"} 51",
        "h_bucket{worker=\"0\",le=\"0.25\"} 2",
        "h_count{worker=\"0\"} 4",
        "h_sum{worker=\"0\"} 3",
    ] {
        assert!(page.contains(&format!("{line}\n")), "{line} in {page}");
    }
    assert_eq!(begin(&mut slots, 40), 2);
}

#[test]
fn a_name_that_means_something_else_is_left_out() {
    let mut slots = Slots::default();
    for pid in [1, 2] {
        begin(&mut slots, pid);
    }
    update(&mut slots, 0, "# HELP a A\n# TYPE a gauge\na 1\n");
    update(
        &mut slots,
        1,
        "# HELP a A\n# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\n# HELP b B\n# TYPE b gauge\nb 1\n",
    );
    let expected =
        "# HELP a A\n# TYPE a gauge\na{worker=\"0\"} 1\n# HELP b B\n# TYPE b gauge\nb{worker=\"1\"} 1\n";
    assert_eq!((shown(&slots).as_str(), slots.refused), (expected, 1));
}

#[test]
fn the_page_says_which_workers_there_are_and_how_they_ended() {
    let mut slots = Slots::default();
    let status = |kind: &str, number: i64| {
        format!(
            "# HELP {EXIT_STATUS} E\n# TYPE {EXIT_STATUS} gauge\n{EXIT_STATUS}{{kind=\"{kind}\"}} {number}\n"
        )
    };
    let failed = |how: &str| Outcome::Failed(how.to_owned());
    for (kind, number, outcome) in [
        ("code", 0, Outcome::Ok),
        ("code", 143, Outcome::Ok),
        ("code", 1, failed("exit 1")),
        ("signal", 15, Outcome::Ok),
        ("signal", 9, failed("signal 9")),
    ] {
        let slot = begin(&mut slots, 1);
        update(&mut slots, slot, &status(kind, number));
        assert_eq!(slots.end(slot).unwrap().1, outcome, "{kind} {number}");
    }
    let slot = begin(&mut slots, 2);
    assert_eq!(slots.end(slot).unwrap().1, Outcome::Unknown);
    begin(&mut slots, 3);
    begin(&mut slots, 4);
    slots.worker(1).unwrap().late = Some("slow".into());
    let cause = "started without --export-prometheus".to_owned();
    let left_out = LeftOut { sidecar: sidecar(5), reason: Reason::NoPage, cause };
    let page = page(&slots, &[left_out], Fetches { ok: 5, failed: 1 });
    for line in [
        "telemetry_sidecar_gather_workers_ended_total{result=\"ok\"} 3",
        "telemetry_sidecar_gather_workers_ended_total{result=\"failed\"} 2",
        "telemetry_sidecar_gather_workers_ended_total{result=\"unknown\"} 1",
        "telemetry_sidecar_gather_workers{state=\"gathered\"} 1",
        "telemetry_sidecar_gather_workers{state=\"late\"} 1",
        "telemetry_sidecar_gather_workers{state=\"no_page\"} 1",
        "telemetry_sidecar_gather_fetches_total{outcome=\"failed\"} 1",
        "telemetry_sidecar_gather_worker_info{worker=\"0\",pid=\"3\",command=\"python w\\\"3\\\".py\"} 1",
        "# not gathered: sidecar 5, worker 6 (python w\"5\".py): started without --export-prometheus",
    ] {
        assert!(page.contains(&format!("{line}\n")), "{line} in {page}");
    }
    let targets: serde_json::Value = serde_json::from_str(&sd::targets(&slots)).unwrap();
    let expected = serde_json::json!({
        "targets": ["127.0.0.1:9464"],
        "labels": {
            "__meta_telemetry_sidecar_worker": "0",
            "__meta_telemetry_sidecar_pid": "3",
            "__meta_telemetry_sidecar_worker_pid": "4",
            "__meta_telemetry_sidecar_command": "python w\"3\".py",
        },
    });
    assert_eq!((&targets[0], targets.as_array().unwrap().len()), (&expected, 2));
    assert_eq!(sd::targets(&Slots::default()), "[]\n");
}

#[test]
fn a_page_without_room_leaves_the_old_one() {
    let mut slots = Slots::default();
    begin(&mut slots, 1);
    update(&mut slots, 0, &text(1, 1));
    slots.worker(0).unwrap().bytes = 0;
    slots.begin(sidecar(2), "127.0.0.1:1".parse().unwrap());
    slots.worker(1).unwrap().bytes = MAX_BYTES;
    let refused = slots.update(0, parse(&text(2, 2)).unwrap()).unwrap_err();
    assert_eq!(refused, "all pages together need more than 512 MiB");
    assert!(shown(&slots).contains("a_total{worker=\"0\",x=\"1\"} 1\n"));
}

#[test]
fn a_name_is_free_again_when_nothing_on_the_page_has_it() {
    let gauge = "# HELP v V\n# TYPE v gauge\nv 1\n";
    let histogram =
        "# HELP v V\n# TYPE v histogram\nv_bucket{le=\"+Inf\"} 2\nv_count 2\nv_sum 3\n".to_owned();
    let mut slots = Slots::default();
    assert_eq!([begin(&mut slots, 10), begin(&mut slots, 20)], [0, 1]);
    update(&mut slots, 0, gauge);
    // The refused series is counted once and named.
    update(&mut slots, 1, &histogram);
    update(&mut slots, 1, &histogram);
    assert_eq!(slots.refused, 1);
    let text = page(&slots, &[], Fetches::default());
    assert!(text.contains("# left out: v of worker 1: "), "{text}");
    slots.end(0);
    update(&mut slots, 1, &histogram);
    let text = page(&slots, &[], Fetches::default());
    assert!(text.contains("v_count{worker=\"1\"} 2"), "{text}");
    // What ended workers have counted keeps its name.
    slots.end(1);
    assert_eq!(begin(&mut slots, 30), 0);
    update(&mut slots, 0, gauge);
    assert_eq!(slots.refused, 2);
}

#[test]
fn a_histogram_with_negative_values_keeps_its_count() {
    let histogram = |count: u32, sum: &str| {
        format!("# HELP v V\n# TYPE v histogram\nv_bucket{{le=\"+Inf\"}} {count}\n{sum}")
    };
    let mut slots = Slots::default();
    begin(&mut slots, 10);
    update(&mut slots, 0, &histogram(2, "v_count 2\nv_sum 3\n"));
    slots.end(0);
    begin(&mut slots, 20);
    update(&mut slots, 0, &histogram(1, ""));
    let text = page(&slots, &[], Fetches::default());
    assert!(text.contains("v_count{worker=\"0\"} 3\n") && !text.contains("v_sum"), "{text}");
}
