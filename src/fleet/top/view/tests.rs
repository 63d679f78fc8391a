use super::*;

fn press(view: &mut View, keys: &str) {
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\t' => KeyCode::Tab,
            '\u{1b}' => KeyCode::Esc,
            char => KeyCode::Char(char),
        };
        view.key(KeyEvent::from(code), &Model::new());
    }
}

#[test]
fn a_filter_is_a_part_of_the_text_or_a_glob() {
    let mut view = View::new();
    press(&mut view, "/Tool\n");
    let filter = &view.pane(Pane::Workers).filter;
    assert!(filter.matches("my tool") && filter.matches("TOOLS") && !filter.matches("too"));
    press(&mut view, "/q*p\n");
    let filter = &view.pane(Pane::Workers).filter;
    assert!(filter.matches("q.stop") && !filter.matches("aq.stop") && view.typing.is_none());
    press(&mut view, "/x\u{1b}");
    assert!(view.pane(Pane::Workers).filter.matches(""));
}

#[test]
fn a_measurement_is_opened_as_a_chart() {
    let mut view = View::new();
    press(&mut view, "\t\t\n");
    assert!(!view.can_open() && !view.shows_chart());
    view.pane_mut(Pane::Measurements).keys = vec!["a.x".into(), "a.y".into()];
    assert!(view.can_open());
    press(&mut view, "\nj");
    assert!(view.shows_chart() && view.can_go_back() && !view.can_open());
    assert_eq!(view.pane(Pane::Measurements).selected_key(), Some("a.y"));
    press(&mut view, "\u{1b}");
    assert!(!view.shows_chart() && view.focus == Pane::Measurements);
    press(&mut view, "\n\t");
    assert!(!view.shows_chart() && view.focus == Pane::Events && view.can_open());
}

#[test]
fn rows_are_opened_and_left_one_by_one() {
    let mut view = View::new();
    view.pane_mut(Pane::Workers).keys = vec!["7".into(), "8".into()];
    view.pane_mut(Pane::Operations).keys = vec!["a".into()];
    press(&mut view, "jj\n");
    assert_eq!((view.worker, view.focus), (Some(8), Pane::Operations));
    press(&mut view, "\n");
    assert_eq!((view.operation.as_deref(), view.focus), (Some("a"), Pane::Events));
    press(&mut view, "\u{1b}");
    assert_eq!((view.operation.as_deref(), view.worker), (None, Some(8)));
    press(&mut view, "\u{1b}");
    assert_eq!((view.worker, view.focus, view.can_go_back()), (None, Pane::Workers, false));
}

#[test]
fn keys_that_end_or_stop_it_work_while_typing() {
    let mut view = View::new();
    press(&mut view, "/q");
    assert_eq!(view.pane(Pane::Workers).filter.text, "q");
    for (char, action) in [('c', Action::Interrupt), ('z', Action::Suspend), ('l', Action::Redraw)] {
        let key = KeyEvent::new(KeyCode::Char(char), KeyModifiers::CONTROL);
        assert_eq!(view.key(key, &Model::new()), action);
    }
}
