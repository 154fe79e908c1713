use super::*;
use proptest::prelude::*;

fn malaysia() -> Plan {
    Plan::new(Some("MY"), &[], &["999".into(), "112".into()]).unwrap()
}

fn number(digits: &str) -> E164 {
    E164::from_digits(digits).unwrap()
}

#[test]
fn every_spelling_of_the_contract_is_the_same_number() {
    let plan = malaysia();
    for spelled in [
        "+60123456789",
        "0060123456789",
        "60123456789",
        "0123456789",
        "012-345 6789",
        "(012) 345.6789",
        " 60123456789",
        "+60 (0)12-345 6789",
    ] {
        assert_eq!(
            plan.parse_phone(spelled),
            Some(number("60123456789")),
            "{spelled}"
        );
    }
}

#[test]
fn what_is_no_number_is_refused() {
    let plan = malaysia();
    for spelled in [
        "",
        " ",
        "+",
        "abc",
        "0123",
        "+60",
        "012345678x",
        "+99912345678",
        "++60123456789",
        "60+123456789",
        "999",
        "01234567890123456789",
        "٠١٢٣٤٥٦٧٨٩",
        "0123456789;ext=5",
        "tel:+60123456789",
        "012345678901234567890123456789012345678901234567890",
    ] {
        assert_eq!(plan.parse_phone(spelled), None, "{spelled}");
    }
}

#[test]
fn without_a_default_country_national_forms_are_unknown() {
    let plan = Plan::new(None, &[], &[]).unwrap();
    assert_eq!(plan.parse_phone("0123456789"), None);
    assert_eq!(plan.parse_phone("6512345678"), None);
    assert_eq!(plan.parse_phone("6581234567"), Some(number("6581234567")));
    assert!(plan.target_allowed(number("6581234567")));
}

#[test]
fn a_valid_national_form_wins_over_a_country_code() {
    // 2025550123 is national in the US and would begin with Egypt's +20.
    let plan = Plan::new(Some("US"), &[], &[]).unwrap();
    assert_eq!(plan.parse_phone("2025550123"), Some(number("12025550123")));
}

#[test]
fn targets_are_checked_by_country() {
    let plan = malaysia();
    assert!(plan.target_allowed(number("60123456789")));
    assert!(!plan.target_allowed(number("6581234567")));
    let plan = Plan::new(Some("MY"), &["MY".into(), "US".into()], &[]).unwrap();
    assert!(plan.target_allowed(number("12025550123")));
    // Canada shares +1 but is not allowed.
    assert!(!plan.target_allowed(number("16135550123")));
    let plan = Plan::new(Some("MY"), &["*".into()], &[]).unwrap();
    assert!(plan.target_allowed(number("6581234567")));
}

#[test]
fn emergency_numbers_are_no_targets_and_known_as_dialled() {
    let plan = malaysia();
    assert!(plan.is_emergency("999"));
    assert!(plan.is_emergency("1-12"));
    assert!(!plan.is_emergency("9990"));
    assert!(!plan.is_emergency("0388880000"));
    let plan = Plan::new(None, &[], &["1234567".into()]).unwrap();
    assert!(!plan.target_allowed(number("1234567")));
    assert!(!plan.target_allowed(number("651234567")));
}

#[test]
fn faults_of_the_configuration_are_named() {
    assert!(Plan::new(Some("XX"), &[], &[]).unwrap_err().contains("XX"));
    assert!(
        Plan::new(None, &["Q".into()], &[])
            .unwrap_err()
            .contains('Q')
    );
    assert!(
        Plan::new(None, &[], &["9a".into()])
            .unwrap_err()
            .contains("9a")
    );
}

#[test]
fn pool_entries_keep_their_spelling() {
    let plan = malaysia();
    let range = plan.parse_pool_entry("0388880000-0388880099").unwrap();
    assert_eq!(range.first, number("60388880000"));
    assert_eq!(range.last, number("60388880099"));
    assert_eq!(range.count(), 100);
    assert_eq!(range.style.show(number("60388880042")), "0388880042");
    let range = plan
        .parse_pool_entry("+60388880000 - +60388880001")
        .unwrap();
    assert_eq!(range.style.show(range.last), "+60388880001");
    let one = plan.parse_pool_entry("03-8888 0007").unwrap();
    assert_eq!(
        (one.first, one.last),
        (number("60388880007"), number("60388880007"))
    );
    assert_eq!(one.style.show(one.first), "0388880007");
    let range = plan.parse_pool_entry("03-8888 0000-03-8888 0009").unwrap();
    assert_eq!(range.count(), 10);
    // Not valid to the plan, but the carrier's to give.
    assert!(plan.parse_pool_entry("+15550001000").is_ok());
}

#[test]
fn faulty_pool_entries_are_refused() {
    let plan = malaysia();
    for entry in [
        "",
        "-",
        "12",
        "0388880099-0388880000",
        "0388880000-+60388880099",
        "0388880000-x",
    ] {
        assert!(plan.parse_pool_entry(entry).is_err(), "{entry}");
    }
}

#[test]
fn ranges_are_cut_into_chunks() {
    let range = malaysia()
        .parse_pool_entry("0388880000-0388880099")
        .unwrap();
    let chunks = range.chunks(30);
    assert_eq!(chunks.len(), 4);
    assert_eq!(chunks.iter().map(PoolRange::count).sum::<u64>(), 100);
    assert_eq!(chunks.last().unwrap().last, range.last);
}

#[test]
fn wire_forms_read_what_they_write() {
    let plan = malaysia();
    let home = number("60123456789");
    let abroad = number("6581234567");
    for form in [
        NumberForm::PlusE164,
        NumberForm::E164,
        NumberForm::National("MY".into()),
        NumberForm::Prefix("9991".into(), "".into()),
    ] {
        for number in [home, abroad] {
            let written = form.write(number).unwrap();
            assert_eq!(
                plan.normalise_wire(&form, &written),
                Some(number),
                "{form:?} {written}"
            );
            let written = form.write_identity(number);
            assert_eq!(
                plan.normalise_identity(&form, &written),
                Some(number),
                "{form:?} {written}"
            );
        }
    }
    let form = NumberForm::Prefix("0".into(), "60".into());
    assert_eq!(form.write(home).unwrap(), "0123456789");
    assert_eq!(plan.normalise_wire(&form, "0123456789"), Some(home));
    let national = NumberForm::National("MY".into());
    assert_eq!(national.write(home).unwrap(), "0123456789");
    assert_eq!(national.write(abroad).unwrap(), "006581234567");
}

#[test]
fn a_number_of_another_country_has_no_form_without_its_code() {
    let form = NumberForm::Prefix("9991".into(), "60".into());
    assert_eq!(form.write(number("60123456789")).unwrap(), "9991123456789");
    assert_eq!(form.write(number("16502530000")), None);
    assert_eq!(form.write(number("6581234567")), None);
}

#[test]
fn a_tech_prefix_is_for_what_is_dialled() {
    let plan = malaysia();
    let home = Some(number("60128881234"));
    let plain = NumberForm::Prefix("77".into(), "".into());
    let short = NumberForm::Prefix("77".into(), "60".into());
    for form in [&plain, &short] {
        assert_eq!(form.write_identity(number("60128881234")), "60128881234");
        assert_eq!(plan.normalise_identity(form, "60128881234"), home);
        assert_eq!(plan.normalise_identity(form, "+60128881234"), home);
        assert_eq!(plan.normalise_wire(form, "60128881234"), None);
        assert_eq!(plan.normalise_identity(form, "anonymous"), None);
    }
    assert_eq!(plan.normalise_identity(&plain, "7760128881234"), home);
    assert_eq!(plan.normalise_identity(&short, "77128881234"), home);
    // Kazakhstan's own 77 is no prefix where nothing would be left of the number.
    let kazakh = Some(number("77012345678"));
    assert_eq!(plan.normalise_identity(&plain, "77012345678"), kazakh);
    assert_eq!(
        plan.normalise_identity(&NumberForm::National("MY".into()), "x"),
        None
    );
}

#[test]
fn a_caller_on_the_wire_need_not_be_valid() {
    let plan = malaysia();
    assert_eq!(
        plan.normalise_wire(&NumberForm::PlusE164, "+9991234"),
        Some(number("9991234"))
    );
    for bad in [
        "anonymous",
        "",
        "+123456",
        "1234567890123456",
        "+0123456789",
    ] {
        assert_eq!(
            plan.normalise_wire(&NumberForm::PlusE164, bad),
            None,
            "{bad}"
        );
    }
    assert_eq!(
        plan.normalise_wire(&NumberForm::Prefix("9991".into(), "".into()), "60123456789"),
        None
    );
}

#[test]
fn national_forms_are_known_for_the_guard() {
    let forms = malaysia().national_forms(number("60123456789"));
    assert!(forms.contains(&"123456789".to_owned()));
    assert!(forms.contains(&"0123456789".to_owned()));
    let forms = malaysia().national_forms(number("442071838750"));
    assert!(forms.contains(&"02071838750".to_owned()));
}

proptest! {
    #[test]
    fn reading_never_panics_and_is_stable(spelled in "[ +0-9().-]{0,24}") {
        let plan = malaysia();
        if let Some(number) = plan.parse_phone(&spelled) {
            prop_assert_eq!(plan.parse_phone(&number.to_string()), Some(number));
        }
        let _ = plan.parse_pool_entry(&spelled);
    }

    #[test]
    fn text_of_any_kind_never_panics(spelled in "\\PC{0,50}") {
        let plan = malaysia();
        let _ = plan.parse_phone(&spelled);
        let _ = plan.is_emergency(&spelled);
        let _ = plan.parse_pool_entry(&spelled);
        for form in [NumberForm::National("MY".into()), NumberForm::Prefix("9".into(), "60".into())] {
            let _ = plan.normalise_wire(&form, &spelled);
            let _ = plan.normalise_identity(&form, &spelled);
        }
    }

    #[test]
    fn a_style_shows_what_it_was_made_of(packed in 1_000_000u64..999_999_999_999_999, cut in 0usize..5, prefix in "[0-9+]{0,4}") {
        let number = E164::from_packed(packed).unwrap();
        let digits = number.digits();
        let spelled = format!("{prefix}{}", &digits[cut..]);
        let style = NumberStyle::of(number, &spelled).unwrap();
        prop_assert_eq!(style.show(number), spelled);
    }
}
