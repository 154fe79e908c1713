use super::*;

fn world() -> World {
    let mut settings = settings();
    settings.trunks[1].as_mut().unwrap().options_interval = Duration::from_secs(30);
    World::with(settings)
}

fn result(world: &mut World) -> bool {
    match world.said() {
        Output::TrunkProbe(trunk, alive) => {
            assert_eq!(trunk, OUT);
            alive
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn trunks_are_asked_at_their_interval() {
    let mut world = world();
    world.input(Input::Draining(false));
    for status in [200, 404, 500, 603] {
        world.pass_millis(1);
        let options = world.request(CALLEE, Method::Options);
        assert_eq!(options.uri(), "sip:carrier.example");
        world.receive(CALLEE, respond(&options, status, "x"));
        assert!(result(&mut world));
        world.quiet();
        world.pass(Duration::from_millis(29_998));
        world.quiet();
        world.pass_millis(1);
    }
}

#[test]
fn a_trunk_that_does_not_answer_is_down() {
    for status in [408, 503] {
        let mut world = world();
        world.input(Input::Draining(false));
        world.pass_millis(1);
        let options = world.request(CALLEE, Method::Options);
        world.receive(CALLEE, respond(&options, status, "x"));
        assert!(!result(&mut world));
    }
    let mut world = world();
    world.input(Input::Draining(false));
    world.pass(Duration::from_millis(29_999));
    let mut options = std::iter::from_fn(|| world.next(CALLEE));
    let first = options.next().unwrap();
    // One question at a time: all that went out are repeats of the first.
    assert!(options.all(|again| again.call_id() == first.call_id()));
    assert!(world.said.is_empty());
    // When the next one is due it counts as unanswered, and once.
    world.pass(Duration::from_secs(3));
    assert!(!result(&mut world));
    assert!(world.said.is_empty());
}

#[test]
fn a_reload_changes_who_is_asked() {
    let mut world = world();
    world.input(Input::Draining(false));
    world.pass_millis(1);
    let options = world.request(CALLEE, Method::Options);
    world.receive(CALLEE, respond(&options, 200, "x"));
    world.said.clear();
    world.input(Input::Settings(Box::new(settings())));
    world.pass(Duration::from_secs(100));
    world.quiet();
    world.assert_empty();
}
