//! What a host is told of what peers ask for and of what their pushes leave.

use std::sync::{Arc, Mutex};

use imgxfer_core::client::{PullOptions, PullTarget, RetryPolicy};
use imgxfer_core::depot::Depot;
use imgxfer_core::dicom::tags;
use imgxfer_core::ids::StudyUid;
use imgxfer_core::priority::Priority;
use imgxfer_core::receive::DepotIntake;
use imgxfer_core::send::OtherFiles;
use imgxfer_core::server::{Answered, Asked, AskedBy, Direction, Host, Published, Rights, TransferWatch};
use imgxfer_core::sim::studies::StudySpec;
use imgxfer_core::store::search::Search;
use imgxfer_core::store::{MemIndex, MemRecords, Scope};
use imgxfer_core::testing::pair;
use imgxfer_core::transport::{Identity, Session};

use crate::harness::{Site, client_of, push};

/// Gives all rights but the one to query twice, and writes down what it is told.
#[derive(Clone, Default)]
struct Listener {
    heard: Arc<Mutex<Vec<String>>>,
}

impl Listener {
    fn hear(&self, words: String) {
        self.heard.lock().unwrap().push(words);
    }
}

impl Host for Listener {
    fn rights(&self, _: &Session) -> Rights {
        let asked = self.heard.lock().unwrap().iter().any(|words| words.contains("Rows"));
        Rights::all().with_query(!asked)
    }

    fn on_session(&self, _: &Session) {
        self.hear("session".to_owned());
    }

    fn on_asked(&self, _: &Session, asked: &Asked, answer: Answered) {
        let (what, by) = match asked {
            Asked::Query(by) => ("query", by.clone()),
            Asked::Pull(by) => ("pull", by.clone()),
            _ => return self.hear(format!("{asked:?}")),
        };
        self.hear(format!("{what} by {:?}: {answer:?}", by.attributes));
    }

    fn begin(&self, _: &Session, _: Direction, _: Priority) -> Box<dyn TransferWatch> {
        Box::new(self.clone())
    }
}

impl TransferWatch for Listener {
    fn on_pull(&self, by: &AskedBy, studies: &[StudyUid]) {
        assert_eq!((by.studies.as_slice(), by.series.len()), (studies, 0));
        self.hear(format!("pull by {:?}: {}", by.attributes, studies[0]));
    }

    fn on_published(&self, published: &Published<'_>) {
        let Published { studies, complete, instances, .. } = *published;
        self.hear(format!("published {} {complete} {instances}", studies[0]));
    }
}

#[tokio::test]
async fn a_host_is_told_what_is_asked_and_what_is_published() {
    let host = Listener::default();
    let depot = Depot::new(
        Arc::new(MemRecords::default()),
        Arc::new(MemIndex::default()),
        imgxfer_core::codec::Registry::default(),
    );
    let site = Site::start_with(Identity::generate().unwrap(), depot, Arc::new(host.clone()));
    let client = client_of(&site);
    let folder = tempfile::tempdir().unwrap();
    let spec = StudySpec::new(1).with_instances(1, 3).with_size(32, 32).with_patient_id("PID-1");
    spec.write_to(folder.path()).unwrap();
    push(&client, &site, &[folder.path().to_owned()], OtherFiles::Skip).await.0.unwrap().complete().unwrap();
    let search = Search::default().by(tags::PATIENT_ID, "PID-1").unwrap();
    let search = search.by(tags::STUDY_DATE, "19000101-").unwrap().by(tags::STUDY_DATE, "-21000101").unwrap();
    client.find(&site.dial, &search).await.unwrap();
    client.find(&site.dial, &search).await.unwrap_err();
    for uid in [spec.study_uid(), StudySpec::new(2).study_uid()] {
        let depot = pair::Site::default().depot.clone();
        let intake = move |peer| Ok(Arc::new(DepotIntake::new(&depot, peer, Scope::owner(peer))?) as _);
        let options = PullOptions::default().with_retry(RetryPolicy::once());
        drop(client.pull(&site.dial, &PullTarget::study(uid), intake, &options, &|_: &_| {}).await);
    }
    site.stop().await;
    let heard = host.heard.lock().unwrap();
    let heard: Vec<&str> = heard.iter().map(String::as_str).filter(|words| *words != "session").collect();
    let uid = spec.study_uid();
    assert_eq!(
        heard,
        [
            format!("published {uid} true 3").as_str(),
            "query by [\"PatientID\", \"StudyDate\"]: Rows(1)",
            "query by [\"PatientID\", \"StudyDate\"]: Refused(NotAllowed)",
            format!("pull by [\"StudyInstanceUID\"]: {uid}").as_str(),
            "pull by [\"StudyInstanceUID\"]: Refused(NotFound)",
        ]
    );
}
