use super::*;

fn folder(files: &[(&str, &str)]) -> Folder {
    let mut folder = Folder::default();
    for (name, text) in files {
        folder.add(name, (*text).into()).expect("its name is right");
    }
    folder
}

/// A folder with this sample of the type `Order`, and the schema that it makes.
fn committed(sample: &str) -> Folder {
    let folder = folder(&[("Order.sample.json", sample)]);
    let text = folder.generate(Rules::Open).expect("it makes one")["Order"].clone();
    let mut committed = folder.clone();
    committed.add("Order.schema.json", text.into()).expect("its name is right");
    committed
}

fn asked() -> Asked {
    Asked { rules: Rules::Open, compat: Compat::Forward, types: Vec::new() }
}

fn kinds(problems: &[Problem]) -> Vec<Kind> {
    problems.iter().map(|problem| problem.kind).collect()
}

#[test]
fn a_folder_whose_schemas_are_what_its_samples_make_has_nothing_wrong() {
    let folder = committed(r#"{"id": 1}"#);
    assert_eq!(check(&folder, None, &asked()), []);
    assert_eq!(check(&folder, Some(&folder), &asked()), []);
}

#[test]
fn a_type_without_a_sample_is_a_problem_whoever_knows_of_it() {
    let asked = Asked { types: vec!["Order".into(), "Paid".into()], ..asked() };
    let problems = check(&folder(&[("Order.schema.json", "{}")]), None, &asked);
    assert_eq!(kinds(&problems), [Kind::NoSample, Kind::NoSample]);
    assert!(problems[1].what.contains("Paid.sample.json"), "{problems:?}");
}

#[test]
fn a_schema_that_was_forgotten_or_changed_by_hand_is_shown_as_a_diff() {
    let sample = ("Order.sample.json", r#"{"id": 1}"#);
    assert_eq!(kinds(&check(&folder(&[sample]), None, &asked())), [Kind::NoSchema]);
    let mut changed = committed(r#"{"id": 1}"#);
    let text = folder(&[sample]).generate(Rules::Open).expect("it makes one")["Order"].clone();
    let text = text.replace("\"integer\"", "\"string\"");
    changed.add("Order.schema.json", text.into()).expect("its name is right");
    let problems = check(&changed, None, &asked());
    assert_eq!(kinds(&problems), [Kind::NotGenerated, Kind::SampleDoesNotFit]);
    let diff = problems[0].diff.as_deref().expect("it is shown");
    assert!(
        diff.contains("-       \"type\": \"string\"\n+       \"type\": \"integer\"\n"),
        "{diff}"
    );
    assert_eq!(problems[1].pointer.as_deref(), Some("/id"));
}

#[test]
fn a_change_breaks_by_the_mode_that_was_asked_for() {
    let old = committed(r#"{"id": 1, "note": "x"}"#);
    let more = committed(r#"{"id": 1, "note": "x", "state": "new"}"#);
    let less = committed(r#"{"id": 1}"#);
    for (new, compat, count) in [
        (&more, Compat::Forward, 0),
        (&more, Compat::Backward, 2), // an old event has no state, or another one
        (&less, Compat::Backward, 0),
        (&less, Compat::Forward, 2),
        (&less, Compat::Full, 2),
    ] {
        let asked = Asked { compat, ..asked() };
        let problems = check(new, Some(&old), &asked);
        assert_eq!(kinds(&problems), vec![Kind::Breaks; count], "{compat:?} {problems:#?}");
    }
}

#[test]
fn a_type_that_is_gone_breaks_and_one_that_is_new_does_not() {
    let old = committed(r#"{"id": 1}"#);
    let problems = check(&Folder::default(), Some(&old), &asked());
    assert_eq!(kinds(&problems), [Kind::TypeRemoved]);
    assert_eq!(check(&old, Some(&Folder::default()), &asked()), []);
}
