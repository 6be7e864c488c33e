//! Two persons, a telephone and a code.

use crate::site::Pair;
use imgxfer_core::transport::pairing::{Invitation, Paired, PairingCode, PairingError, invite, join};
use imgxfer_core::transport::{Session, TransportError};
use std::time::Duration;
use tokio::time::sleep;

const TEN_MINUTES: Duration = Duration::from_secs(600);

fn code(text: &str) -> PairingCode {
    text.parse().unwrap()
}

fn invitation() -> Invitation {
    Invitation::new(code("428-519-063"), TEN_MINUTES)
}

async fn connect(pair: &Pair) -> (Session, Session) {
    let mut window = pair.cloud.endpoint.open_pairing();
    let dial = Pair::dial();
    let (joiner, inviter) = tokio::join!(pair.hospital.endpoint.connect_to_pair(&dial), window.accept());
    (joiner.unwrap(), inviter.unwrap())
}

type Outcome = Result<Paired, PairingError>;

/// Answers of the two persons, each after some seconds.
struct Persons {
    inviter: (u64, bool),
    joiner: (u64, bool),
}

const BOTH_AGREE: Persons = Persons { inviter: (20, true), joiner: (5, true) };

/// Runs a pairing: what the inviter got, and what the joiner got.
async fn run(pair: &Pair, invitation: &Invitation, typed: &str, persons: Persons) -> (Outcome, Outcome) {
    let (there, here) = connect(pair).await;
    let answer = |(seconds, answer): (u64, bool)| async move {
        sleep(Duration::from_secs(seconds)).await;
        answer
    };
    let cloud = pair.cloud.endpoint.identity();
    let hospital = pair.hospital.endpoint.identity();
    let typed = code(typed);
    // Each side drops its session when it is done, as a program would.
    let inviting = async {
        let here = here;
        invite(&here, cloud, invitation, "The cloud", |_| answer(persons.inviter)).await
    };
    let joining = async {
        let there = there;
        join(&there, hospital, &typed, "Ward\u{202e} 7\n", |_| answer(persons.joiner)).await
    };
    tokio::join!(inviting, joining)
}

#[tokio::test(start_paused = true)]
async fn the_right_code_and_two_persons_who_agree() {
    for persons in [BOTH_AGREE, Persons { inviter: (1, true), joiner: (300, true) }] {
        let pair = Pair::strangers();
        let (inviter, joiner) = run(&pair, &invitation(), "428519063", persons).await;
        let (inviter, joiner) = (inviter.unwrap(), joiner.unwrap());
        assert_eq!(inviter.peer, pair.hospital.endpoint.identity().peer_id());
        assert_eq!(joiner.peer, pair.cloud.endpoint.identity().peer_id());
        assert_eq!((inviter.name.as_str(), joiner.name.as_str()), ("Ward 7", "The cloud"));

        pair.hospital.endpoint.trust().pin(joiner.peer);
        pair.cloud.endpoint.trust().pin(inviter.peer);
        pair.outcome(&Pair::dial()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn three_wrong_codes_make_it_void() {
    let pair = Pair::strangers();
    let invitation = invitation();
    for left in [2, 1, 0] {
        let (inviter, joiner) = run(&pair, &invitation, "428-519-064", BOTH_AGREE).await;
        assert_eq!(inviter, Err(PairingError::WrongCode { tries_left: Some(left) }));
        assert_eq!(joiner, Err(PairingError::WrongCode { tries_left: None }));
        assert_eq!(invitation.tries_left(), left);
    }
    let (inviter, joiner) = run(&pair, &invitation, "428-519-063", BOTH_AGREE).await;
    assert_eq!((inviter, joiner), (Err(PairingError::Void), Err(PairingError::Void)));
}

#[tokio::test(start_paused = true)]
async fn a_code_serves_once() {
    let pair = Pair::strangers();
    let invitation = invitation();
    assert!(run(&pair, &invitation, "428-519-063", BOTH_AGREE).await.0.is_ok());
    assert_eq!(run(&pair, &invitation, "428-519-063", BOTH_AGREE).await.1, Err(PairingError::Void));
}

#[tokio::test(start_paused = true)]
async fn a_code_runs_out() {
    let pair = Pair::strangers();
    let invitation = Invitation::new(code("428-519-063"), Duration::from_secs(60));
    sleep(Duration::from_secs(61)).await;
    let (inviter, joiner) = run(&pair, &invitation, "428-519-063", BOTH_AGREE).await;
    assert_eq!((inviter, joiner), (Err(PairingError::Expired), Err(PairingError::Void)));

    // Also while a person is thinking.
    let invitation = Invitation::new(code("428-519-063"), Duration::from_secs(60));
    let slow = Persons { inviter: (90, true), joiner: (1, true) };
    let (inviter, joiner) = run(&pair, &invitation, "428-519-063", slow).await;
    assert_eq!((inviter, joiner), (Err(PairingError::Expired), Err(PairingError::DeclinedThere)));
}

#[tokio::test(start_paused = true)]
async fn either_person_may_decline() {
    for (early, late) in [(1, 50), (50, 1)] {
        let pair = Pair::strangers();
        let persons = Persons { inviter: (early, false), joiner: (late, true) };
        let (inviter, joiner) = run(&pair, &invitation(), "428-519-063", persons).await;
        assert_eq!((inviter, joiner), (Err(PairingError::DeclinedHere), Err(PairingError::DeclinedThere)));

        let persons = Persons { inviter: (early, true), joiner: (late, false) };
        let (inviter, joiner) = run(&pair, &invitation(), "428-519-063", persons).await;
        assert_eq!((inviter, joiner), (Err(PairingError::DeclinedThere), Err(PairingError::DeclinedHere)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_broken_line_ends_it() {
    let pair = Pair::strangers();
    let cut = async {
        sleep(Duration::from_secs(10)).await;
        pair.net.cut();
    };
    let persons = Persons { inviter: (400, true), joiner: (400, true) };
    let invitation = invitation();
    let ((inviter, joiner), ()) = tokio::join!(run(&pair, &invitation, "428-519-063", persons), cut);
    assert_eq!(inviter, Err(TransportError::TimedOut.into()));
    assert_eq!(joiner, Err(TransportError::TimedOut.into()));
}

#[tokio::test(start_paused = true)]
async fn a_session_for_transfers_is_not_for_pairing() {
    let pair = Pair::known("fibre100");
    let (a, _b) = pair.session().await;
    let me = pair.hospital.endpoint.identity();
    let outcome = join(&a, me, &code("428-519-063"), "", |_| async { true }).await;
    assert_eq!(outcome, Err(PairingError::NotForPairing));
}

#[tokio::test(start_paused = true)]
async fn a_site_without_an_invitation_is_told_apart() {
    let pair = Pair::strangers();
    let error = pair.hospital.endpoint.connect_to_pair(&Pair::dial()).await.unwrap_err();
    assert!(matches!(error, TransportError::NotOpenForPairing { .. }), "{error:?}");
    for word in ["not open for pairing", "imgxfer pair --invite"] {
        assert!(error.to_string().contains(word), "{error}");
    }
}
