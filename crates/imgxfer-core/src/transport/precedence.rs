//! Which of an endpoint's connections may use the line, by the priority of what they carry.

use std::sync::{Arc, Mutex, Weak};

use crate::priority::Priority;
use crate::sync::lock;
use crate::transport::congestion::{Demand, Gauge};

/// All ranks that are in force at an endpoint.
#[derive(Debug, Default)]
pub(super) struct Precedence(Mutex<Vec<(Weak<Gauge>, Priority)>>);

impl Precedence {
    /// Tells every connection how much to ask for.
    fn settle(ranks: &[(Weak<Gauge>, Priority)]) {
        let emergency = ranks.iter().any(|(_, priority)| *priority == Priority::Stat);
        for (gauge, priority) in ranks {
            let demand = match priority {
                Priority::Stat => Demand::Foreground,
                _ if emergency => Demand::Held,
                Priority::Background => Demand::Background,
                Priority::Routine => Demand::Foreground,
            };
            if let Some(gauge) = gauge.upgrade() {
                gauge.set_demand(demand);
            }
        }
    }

    fn change(&self, change: impl FnOnce(&mut Vec<(Weak<Gauge>, Priority)>)) {
        let mut ranks = lock(&self.0);
        change(&mut ranks);
        Self::settle(&ranks);
    }
}

/// What a session needs to take part.
#[derive(Debug)]
pub(super) struct Steering {
    gauge: Arc<Gauge>,
    precedence: Arc<Precedence>,
}

impl Steering {
    pub(super) fn new(gauge: Arc<Gauge>, precedence: &Arc<Precedence>) -> Self {
        Self { gauge, precedence: Arc::clone(precedence) }
    }

    pub(super) fn gauge(&self) -> &Gauge {
        &self.gauge
    }

    pub(super) fn rank(&self, priority: Priority) -> Rank {
        let gauge = Arc::clone(&self.gauge);
        self.precedence.change(|ranks| ranks.push((Arc::downgrade(&gauge), priority)));
        Rank { gauge, priority, precedence: Arc::clone(&self.precedence) }
    }
}

/// How urgent a session's data is, while this lives. One for each session at a time.
#[derive(Debug)]
pub struct Rank {
    gauge: Arc<Gauge>,
    priority: Priority,
    precedence: Arc<Precedence>,
}

impl Drop for Rank {
    fn drop(&mut self) {
        let mine = Arc::downgrade(&self.gauge);
        self.precedence.change(|ranks| {
            let place = ranks.iter().position(|(gauge, p)| gauge.ptr_eq(&mine) && *p == self.priority);
            if let Some(place) = place {
                ranks.swap_remove(place);
            }
        });
        self.gauge.set_demand(Demand::Foreground);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_holds_the_others_while_it_lasts() {
        let precedence = Arc::default();
        let steering = || Steering::new(Arc::default(), &precedence);
        let (routine, background, stat) = (steering(), steering(), steering());
        let _ranks = (routine.rank(Priority::Routine), background.rank(Priority::Background));
        let demands = || (routine.gauge.demand(), background.gauge.demand(), stat.gauge.demand());
        assert_eq!(demands(), (Demand::Foreground, Demand::Background, Demand::Foreground));
        let emergency = stat.rank(Priority::Stat);
        assert_eq!(demands(), (Demand::Held, Demand::Held, Demand::Foreground));
        drop(emergency);
        assert_eq!(demands(), (Demand::Foreground, Demand::Background, Demand::Foreground));
    }
}
