//! Whatever bytes a pack or an index row holds: reading it back neither panics nor takes more memory
//! than its length calls for, and what a scan calls whole can be read.

use std::collections::HashMap;

use imgxfer_core::clock::UnixSeconds;
use imgxfer_core::ids::PackId;
use imgxfer_core::store::fs::{PACK_HEADER_BYTES, PackHeader};
use imgxfer_core::store::{MemIndex, MemRecords, RecordStore, SpoolLimits, recipe, spool_chunks};
use imgxfer_core::testing::peer;

/// See the module.
pub fn check(bytes: &[u8]) {
    if let Some(header) = bytes.first_chunk::<PACK_HEADER_BYTES>() {
        if let Ok(header_read) = PackHeader::decode(header) {
            assert_eq!(header_read.encode(), *header);
        }
    }
    if let Ok(instance) = recipe::decode(peer(1), bytes) {
        assert_eq!(recipe::encode(&instance), bytes);
    }
    let store = MemRecords::default();
    let id = PackId::from_bytes([1; 16]);
    store.insert_pack(id, peer(1), UnixSeconds(0), bytes.to_vec());
    let mut lengths = HashMap::new();
    let quick = store.scan(id, false, &mut |at, header| lengths.extend([(at, header.raw_len())]));
    let quick = quick.expect("without a check nothing is an error");
    assert!(quick <= u64::try_from(bytes.len()).expect("a length fits"));
    if store.scan(id, true, &mut |at, _| assert!(store.read(at).is_ok())).is_ok_and(|end| end == quick) {
        assert!(lengths.keys().all(|at| store.read(*at).is_ok()));
    }
    spool_chunks(&store, &MemIndex::default(), &peer(1), SpoolLimits::default(), &mut |_| Ok(true))
        .expect("memory does not fail");
}
