//! Packs that running transfers write to, or found chunks in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::ids::PackId;
use crate::sync::lock;

/// The packs in use, and how many transfers use each.
#[derive(Debug, Clone, Default)]
pub(super) struct PacksInUse {
    holders: Arc<Mutex<HashMap<PackId, usize>>>,
}

impl PacksInUse {
    pub(super) fn hold(&self, pack: PackId) -> HeldPack {
        *self.holders().entry(pack).or_default() += 1;
        HeldPack { packs: self.clone(), pack }
    }

    pub(super) fn contains(&self, pack: &PackId) -> bool {
        self.holders().contains_key(pack)
    }

    fn holders(&self) -> MutexGuard<'_, HashMap<PackId, usize>> {
        lock(&self.holders)
    }
}

/// Keeps a pack from being collected while it lives.
#[derive(Debug)]
pub struct HeldPack {
    packs: PacksInUse,
    pack: PackId,
}

impl HeldPack {
    /// The pack.
    #[must_use]
    pub const fn pack(&self) -> PackId {
        self.pack
    }
}

impl Drop for HeldPack {
    fn drop(&mut self) {
        let mut holders = self.packs.holders();
        if let Some(count) = holders.get_mut(&self.pack) {
            *count -= 1;
            if *count == 0 {
                holders.remove(&self.pack);
            }
        }
    }
}
