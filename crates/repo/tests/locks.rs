//! The lock protocol, played through in every order.
//!
//! Two or three programs take locks on one repository in memory. It is the library's own code that runs;
//! but each storage operation waits for its turn, and an explorer gives the turns in every possible
//! order. In no order may an exclusive holder be at work together with anybody, and none may end with
//! somebody stuck, or with a lock left behind by somebody who did not die. That both give way to each
//! other is allowed.
//!
//! A participant may be slow as long as it likes between any two steps: nothing relies on how long the
//! settling takes. With `slow_list`, a listing takes time, and a file that comes or goes meanwhile is
//! shown or not. One thing is taken for granted then: a listing takes less time than the pause between
//! the two halves of a refresh.
//!
//! Three participants in every order take minutes: `ONE_RESTIC_ALL_ORDERS=1 cargo test -p restic-repo
//! --test locks`. Else orders are chosen by chance.
#![allow(missing_docs, clippy::unwrap_used)]

use restic_repo::lock::LockKind::{self, Exclusive, Shared};

use explorer::{Played, Role, Scene, play, sample};

#[path = "locks/explorer.rs"]
mod explorer;
#[path = "locks/table.rs"]
mod table;

fn role(locks: &[LockKind]) -> Role {
    Role { locks: locks.to_vec(), gated: false, shares: false, excludes: false, refreshes: 0 }
}

fn scene(roles: impl IntoIterator<Item = Role>) -> Scene {
    Scene { roles: roles.into_iter().collect(), slow_list: false, crashes: 0 }
}

/// Whether some order ended in this way.
fn ended(played: &Played, phases: &str) -> bool {
    played.ends.contains_key(&format!("[{phases}]"))
}

#[test]
fn two_who_want_to_be_alone_are_never_at_work_together() {
    for gated in [false, true] {
        let one = Role { gated, ..role(&[Exclusive]) };
        let played = play(&scene([one.clone(), one]));
        assert!(ended(&played, "Done, Done"), "one after the other: {played:?}");
        assert!(ended(&played, "Done, GaveWay") && ended(&played, "GaveWay, Done"), "{played:?}");
        assert!(ended(&played, "GaveWay, GaveWay"), "{played:?}");
    }
}

#[test]
fn who_wants_to_be_alone_is_never_at_work_with_others() {
    for gated in [false, true] {
        let roles = [Role { gated, ..role(&[Exclusive]) }, role(&[Shared])];
        let played = play(&scene(roles));
        assert!(ended(&played, "Done, Done") && ended(&played, "GaveWay, Done"), "{played:?}");
    }
}

#[test]
fn those_who_share_always_get_in() {
    let played = play(&scene([role(&[Shared]), Role { gated: true, ..role(&[Shared]) }]));
    assert_eq!(played.ends.len(), 1, "{played:?}");
    assert!(ended(&played, "Done, Done"), "{played:?}");
}

#[test]
fn whoever_gives_a_shared_lock_back_to_be_alone_is_alone() {
    for other in [Shared, Exclusive] {
        let played = play(&scene([role(&[Shared, Exclusive]), role(&[other])]));
        assert!(ended(&played, "Done, Done") && ended(&played, "GaveWay, Done"), "{played:?}");
    }
}

#[test]
fn whoever_keeps_a_shared_lock_until_he_is_alone_is_alone_or_gives_way() {
    for slow_list in [false, true] {
        let keeping = Role { excludes: true, ..role(&[Shared]) };
        for other in [role(&[Shared]), role(&[Exclusive]), keeping.clone()] {
            let played = play(&Scene { slow_list, ..scene([keeping.clone(), other]) });
            assert!(ended(&played, "Done, Done") && ended(&played, "GaveWay, Done"), "{played:?}");
        }
    }
}

#[test]
fn a_lock_counts_while_it_is_refreshed() {
    for other in [Shared, Exclusive] {
        let refreshed = Role { refreshes: 1, ..role(&[Exclusive]) };
        let played = play(&scene([refreshed, role(&[other])]));
        assert!(ended(&played, "Done, GaveWay"), "{played:?}");
    }
}

#[test]
fn whoever_lets_others_in_is_not_alone_any_more_but_keeps_out_who_wants_to_be() {
    for slow_list in [false, true] {
        for other in [Shared, Exclusive] {
            let sharing = Role { shares: true, ..role(&[Exclusive]) };
            let played = play(&Scene { slow_list, ..scene([sharing, role(&[other])]) });
            assert!(ended(&played, "Done, Done") && ended(&played, "Done, GaveWay"), "{played:?}");
        }
    }
}

#[test]
fn a_listing_that_takes_time_hides_nobody() {
    for (refreshes, other) in [(0, Shared), (0, Exclusive), (1, Exclusive)] {
        let one = Role { refreshes, ..role(&[Exclusive]) };
        let slow = Scene { slow_list: true, ..scene([one, role(&[other])]) };
        let played = play(&slow);
        assert!(ended(&played, "Done, GaveWay"), "{played:?}");
    }
}

#[test]
fn the_lock_of_one_who_died_keeps_others_out_and_stops_nobody() {
    for other in [Shared, Exclusive] {
        let deadly = Scene { crashes: 1, ..scene([role(&[Exclusive]), role(&[other])]) };
        let played = play(&deadly);
        assert!(ended(&played, "Crashed, GaveWay"), "{played:?}");
        assert!(ended(&played, "Crashed, Done"), "it died before it had a lock: {played:?}");
    }
}

#[test]
fn three_are_as_safe_as_two() {
    let refreshed = |kind| Role { refreshes: 1, ..role(&[kind]) };
    for roles in [
        [role(&[Exclusive]), role(&[Shared]), role(&[Shared])],
        [role(&[Exclusive]), role(&[Exclusive]), role(&[Shared])],
        [role(&[Shared, Exclusive]), role(&[Exclusive]), refreshed(Shared)],
    ] {
        for slow_list in [false, true] {
            let scene = Scene { slow_list, crashes: 1, ..scene(roles.clone()) };
            match std::env::var_os("ONE_RESTIC_ALL_ORDERS") {
                Some(_) => println!("{:?}", play(&scene)),
                None => drop(sample(&scene, 100)),
            }
        }
    }
}
