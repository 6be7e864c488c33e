//! A panic deep inside ends what it was about, and nothing else.

use std::sync::Arc;

use imgxfer_core::client::{PushOptions, RetryPolicy};
use imgxfer_core::codec::{Codec, CodecError, CodecId, Level, LevelChoice, PixelShape, Registry, Zstd};
use imgxfer_core::depot::Depot;
use imgxfer_core::error::{Retry, TransferError};
use imgxfer_core::send::{OtherFiles, Source, SourceItem, Totals};
use imgxfer_core::server::Rights;
use imgxfer_core::sim::studies::StudySpec;
use imgxfer_core::store::{CheckOptions, FsOptions, check};
use imgxfer_core::transport::Identity;
use imgxfer_core::work::{WorkError, panics};

use crate::harness::{Site, client_of, depot_at, push};

/// zstd that breaks on whatever it is given, in one direction.
#[derive(Debug)]
struct Broken {
    encodes: bool,
}

impl Codec for Broken {
    fn id(&self) -> CodecId {
        CodecId::ZSTD
    }

    fn encode(&self, raw: &[u8], shape: Option<&PixelShape>, level: Level, out: &mut Vec<u8>) -> bool {
        assert!(self.encodes, "a defect of a test");
        Zstd.encode(raw, shape, level, out)
    }

    fn decode(&self, payload: &[u8], raw_len: u32, out: &mut Vec<u8>) -> Result<(), CodecError> {
        assert!(!self.encodes, "a defect of a test");
        Zstd.decode(payload, raw_len, out)
    }
}

fn count(work: &str) -> u64 {
    panics().get(work).copied().unwrap_or(0)
}

/// Pushes a study from a site with the one registry to a site with the other, and looks whether it is whole there.
async fn arrives(here: Registry, there: Registry) {
    let (store, input) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    StudySpec::new(3).with_instances(2, 5).with_size(64, 64).write_to(input.path()).unwrap();
    let depot = Depot::open(store.path(), FsOptions::default(), there).unwrap().0;
    let site = Site::start(Identity::generate().unwrap(), depot, Rights::all());
    let client = client_of(&site).with_registry(here);
    let (report, _) = push(&client, &site, &[input.path().to_owned()], OtherFiles::Skip).await;
    assert_eq!((report.as_ref().unwrap().receipt.complete, report.unwrap().receipt.instances), (true, 10));
    site.stop().await;
    let depot = depot_at(store.path());
    let options = CheckOptions { read_data: true, ..CheckOptions::default() };
    let report = check(&depot.records, depot.index.as_ref(), &options, &mut |_| true).unwrap();
    assert_eq!((report.is_clean(), report.instances), (true, 10));
}

#[tokio::test]
async fn what_a_decoder_breaks_on_is_asked_for_again_without_it() {
    let before = count("decode a record");
    arrives(Registry::default(), Registry::default().with(Arc::new(Broken { encodes: true }))).await;
    assert!(count("decode a record") > before);
}

#[tokio::test]
async fn what_an_encoder_breaks_on_goes_as_it_is() {
    let before = count("encode");
    arrives(Registry::default().with(Arc::new(Broken { encodes: false })), Registry::default()).await;
    assert!(count("encode") > before);
}

/// A source of a program that embeds this one.
struct Bad;

impl Source for Bad {
    fn totals(&self) -> Totals {
        Totals::default()
    }

    fn next_item(&mut self) -> std::io::Result<Option<SourceItem>> {
        panic!("a defect of a test")
    }
}

#[tokio::test]
async fn a_source_that_breaks_ends_its_transfer_and_the_next_goes_on() {
    let (store, input) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    StudySpec::new(3).with_instances(1, 2).with_size(32, 32).write_to(input.path()).unwrap();
    let site = Site::start(Identity::generate().unwrap(), depot_at(store.path()), Rights::all());
    let client = client_of(&site);
    let options = PushOptions::default().with_retry(RetryPolicy::once()).with_level(LevelChoice::Auto);
    let error = client.push(&site.dial, || Box::new(Bad) as _, &options, &|_: &_| {}).await.unwrap_err();
    assert!(matches!(error, TransferError::Work(WorkError::Panicked("read what is sent"))), "{error:?}");
    assert_eq!(error.retry(), Retry::Never);
    let (report, _) = push(&client, &site, &[input.path().to_owned()], OtherFiles::Skip).await;
    assert!(report.unwrap().receipt.complete);
    site.stop().await;
}
