//! The front door, over real sockets: whom it honours, what it writes, and what it does when Prunella can't say.

use crate::fake::{Fake, Script, clock};
use crate::records::NIGHT;
use prunella_schemas::Timestamp;
use prunella_schemas::port::AccountState;
use prunella_simulate::record::{REVOKED_ERROR_CODE, Verdict};
use prunella_simulate::scenario::attack;
use prunella_simulate::target::{Answer, Setup, Target};
use prunella_simulate::watch::Prunella;
use prunella_simulate::{Call, Intensity, Scenario, Token};

const VICTIM: &str = "aws:user:arn:aws:iam::111122223333:user/dmitri.petrov";

async fn door(fake: &Fake) -> Target {
    let prunella = Prunella::new(&fake.url, None).expect("a client");
    Target::start(Setup { prunella, clock: clock(), seed: 7 }).await.expect("a free port")
}

async fn knock(target: &Target, call: &Call) -> (u16, Answer) {
    let url = format!("http://{}/call", target.address);
    let answer = reqwest::Client::new().post(url).json(call).send().await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.expect("an answer in JSON"))
}

fn calls(scenario: Scenario) -> Vec<Call> {
    attack(scenario, Intensity::Low, 7, NIGHT)
}

#[tokio::test]
async fn it_honours_a_session_until_it_is_revoked_and_writes_down_both() {
    let fake = Fake::start(Script { busy: 1, ..Script::default() }).await;
    let target = door(&fake).await;
    let call = &calls(Scenario::CredentialTheftEnumeration)[0];
    let (status, accepted) = knock(&target, call).await;
    assert_eq!((status, accepted.verdict), (200, Verdict::Accepted));
    let issued = call.token.as_ref().expect("a session").issued_at.0;
    fake.script().not_before.insert(VICTIM.to_owned(), issued);
    assert_eq!(knock(&target, call).await.1.verdict, Verdict::Accepted, "issued at `not_before` itself");
    fake.script().not_before.insert(VICTIM.to_owned(), issued + 1);
    let (status, refused) = knock(&target, call).await;
    assert_eq!((status, refused.verdict), (401, Verdict::Refused));

    let journal = target.stop().await.expect("everything was delivered");
    assert!(journal.iter().all(|seen| seen.durable.is_some_and(|durable| durable >= seen.at)), "{journal:?}");
    let records = std::mem::take(&mut fake.script().records);
    let ids: Vec<_> = records.iter().map(|record| record["eventID"].as_str().expect("text")).collect();
    assert_eq!(ids, journal.iter().map(|seen| seen.event_id.as_str()).collect::<Vec<_>>());
    let codes: Vec<_> = records.iter().map(|record| record["errorCode"].as_str()).collect();
    assert_eq!(codes, [None, None, Some(REVOKED_ERROR_CODE)]);
    assert!(records[2]["errorMessage"].as_str().is_some_and(|message| message.contains("revoked")));
    let created = &records[2]["userIdentity"]["sessionContext"]["attributes"]["creationDate"];
    assert_eq!(created, "2026-11-20T02:59:00Z");
}

#[tokio::test]
async fn while_prunella_cannot_say_the_last_answer_holds() {
    let fake = Fake::start(Script { unknown: true, ..Script::default() }).await;
    let target = door(&fake).await;
    let call = &calls(Scenario::CredentialTheftEnumeration)[0];
    assert_eq!(knock(&target, call).await.1.verdict, Verdict::Accepted, "never heard of");
    fake.script().unknown = false;
    fake.script().not_before.insert(VICTIM.to_owned(), i64::MAX);
    assert_eq!(knock(&target, call).await.1.verdict, Verdict::Refused);
    fake.script().unknown = true;
    assert_eq!(knock(&target, call).await.1.verdict, Verdict::Refused, "the last answer was: revoked");
    assert_eq!(target.stop().await.expect("delivered").len(), 3);
}

#[tokio::test]
async fn a_wrong_password_fails_and_the_right_one_opens_a_session_as_of_now() {
    let fake = Fake::start(Script::default()).await;
    let target = door(&fake).await;
    let calls = calls(Scenario::BruteForce);
    let (status, failed) = knock(&target, &calls[0]).await;
    assert_eq!((status, failed.verdict, failed.token), (401, Verdict::Failed, None));
    let (status, opened) = knock(&target, &calls[8]).await;
    let token = opened.token.expect("a session");
    assert_eq!((status, opened.verdict), (200, Verdict::Accepted));
    assert_eq!(token.issued_at, opened.at);
    let denied = calls
        .iter()
        .find(|call| call.failure.as_ref().is_some_and(|f| f.code == "AccessDenied"))
        .expect("one");
    assert_eq!(knock(&target, denied).await.0, 403, "heard, and told no by the service");
    assert_eq!(target.stop().await.expect("delivered")[2].verdict, Verdict::Accepted);
    assert_eq!(fake.script().records[2]["errorCode"], "AccessDenied");
}

#[tokio::test]
async fn it_honours_locks_refused_sessions_and_the_demand_for_a_second_factor() {
    let fake = Fake::start(Script::default()).await;
    let target = door(&fake).await;
    let call = calls(Scenario::CredentialTheftEnumeration)[0].clone();
    let token = call.token.clone().expect("a session");
    let asks = |change: fn(&mut AccountState, &Token)| {
        let mut account = AccountState::default();
        change(&mut account, &token);
        fake.script().account = account;
    };
    assert_eq!(knock(&target, &call).await.1.verdict, Verdict::Accepted);
    asks(|account, _| account.locked_until = Timestamp(i64::MAX));
    assert_eq!(knock(&target, &call).await.1.verdict, Verdict::Refused, "locked");
    let sign_in = calls(Scenario::BruteForce)[8].clone();
    let (status, answer) = knock(&target, &sign_in).await;
    assert_eq!((status, answer.token), (401, None), "the right password opens nothing while it is locked");
    asks(|account, _| account.locked_until = Timestamp(1));
    assert_eq!(knock(&target, &call).await.1.verdict, Verdict::Accepted, "the lock is over");
    asks(|account, token| account.refused_sessions = vec![token.credential.clone()]);
    assert_eq!(knock(&target, &call).await.1.verdict, Verdict::Refused, "this session");
    asks(|account, _| account.refused_sessions = vec!["another".to_owned()]);
    assert_eq!(knock(&target, &call).await.1.verdict, Verdict::Accepted, "another session");
    asks(|account, _| account.step_up_since = Timestamp(5_000));
    assert_eq!(knock(&target, &call).await.1.verdict, Verdict::Refused, "no second factor was shown");
    for (shown, want) in [(4_999, Verdict::Refused), (5_000, Verdict::Accepted)] {
        let stepped_up_at = Some(Timestamp(shown));
        let call = Call { token: Some(Token { stepped_up_at, ..token.clone() }), ..call.clone() };
        assert_eq!(knock(&target, &call).await.1.verdict, want, "shown at {shown}");
    }
    target.stop().await.expect("everything was delivered");
    let records = std::mem::take(&mut fake.script().records);
    let codes: Vec<_> = records.iter().filter_map(|record| record["errorCode"].as_str()).collect();
    let want = [
        "InvalidClientTokenId",
        "InvalidClientTokenId",
        "ExpiredToken",
        "TokenRefreshRequired",
        "TokenRefreshRequired",
    ];
    assert_eq!(codes, want);
    let shown = &records.last().expect("a record")["userIdentity"]["sessionContext"]["attributes"]["mfaAuthenticated"];
    assert_eq!(shown, "true");
}
