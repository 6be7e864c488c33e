use super::*;

fn stamp(len: u64) -> Stamp {
    Stamp { len, modified_ns: 1, inode: 1, changed_ns: 1 }
}

fn job(peer: &str, priority: Priority) -> NewJob {
    NewJob::new(peer, vec![("/a/1".into(), stamp(10)), ("/a/2".into(), stamp(5))]).with_priority(priority)
}

fn next(queue: &Queue, kind: LaneKind) -> Option<i64> {
    match queue.claim("cloud", kind).unwrap() {
        Claim::Job(job, _) => Some(job.id),
        Claim::Wait(_) => None,
    }
}

#[test]
fn urgent_jobs_go_first_then_older_ones() {
    let folder = tempfile::tempdir().unwrap();
    let queue = Queue::open(&folder.path().join("queue.db")).unwrap();
    let background = queue.push(&job("cloud", Priority::Background)).unwrap();
    let routine = queue.push(&job("cloud", Priority::Routine)).unwrap();
    let second = queue.push(&job("cloud", Priority::Routine)).unwrap();
    queue.push(&job("other", Priority::Stat)).unwrap();
    assert_eq!(next(&queue, LaneKind::StatOnly), None);
    let stat = queue.push(&job("cloud", Priority::Stat)).unwrap();
    assert_eq!(next(&queue, LaneKind::StatOnly), Some(stat));
    assert_eq!(next(&queue, LaneKind::Any), Some(routine));
    assert_eq!(next(&queue, LaneKind::Any), Some(second));
    assert_eq!(next(&queue, LaneKind::Any), Some(background));
    assert_eq!(next(&queue, LaneKind::Any), None);
}

#[test]
fn a_job_that_waits_lets_others_pass() {
    let folder = tempfile::tempdir().unwrap();
    let queue = Queue::open(&folder.path().join("queue.db")).unwrap();
    let first = queue.push(&job("cloud", Priority::Routine)).unwrap();
    let second = queue.push(&job("cloud", Priority::Routine)).unwrap();
    assert_eq!(next(&queue, LaneKind::Any), Some(first));
    queue.wait(first, "unreachable", Duration::from_secs(3600)).unwrap();
    assert_eq!(next(&queue, LaneKind::Any), Some(second));
    match queue.claim("cloud", LaneKind::Any).unwrap() {
        Claim::Wait(Some(wait)) => assert!(wait > Duration::from_secs(3500)),
        other => panic!("{other:?}"),
    }
    assert_eq!(queue.retry(first).unwrap(), Ordered::Yes);
    assert_eq!(next(&queue, LaneKind::Any), Some(first));
    assert_eq!(queue.job(first).unwrap().unwrap().attempts, 2);
    assert_eq!(queue.retry(first).unwrap(), Ordered::No(JobState::Running));
}

#[test]
fn the_queue_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    let (running, waiting, failed);
    {
        let queue = Queue::open(&path).unwrap();
        running = queue.push(&job("cloud", Priority::Routine)).unwrap();
        waiting = queue.push(&job("cloud", Priority::Routine)).unwrap();
        failed = queue.push(&job("cloud", Priority::Routine)).unwrap();
        for _ in 0..3 {
            next(&queue, LaneKind::Any).unwrap();
        }
        queue.wait(waiting, "unreachable", Duration::from_secs(3600)).unwrap();
        queue.fail(failed, "not-allowed").unwrap();
    }
    let queue = Queue::open(&path).unwrap();
    assert_eq!(queue.job(running).unwrap().unwrap().state, JobState::Queued);
    assert_eq!(queue.job(failed).unwrap().unwrap().state, JobState::Failed);
    assert_eq!(next(&queue, LaneKind::Any), Some(running));
    assert_eq!(next(&queue, LaneKind::Any), Some(waiting));
    assert_eq!(next(&queue, LaneKind::Any), None, "a failed job waits for an operator");
    let summary = queue.summary().unwrap();
    assert_eq!((summary[0].open, summary[0].failed, summary[0].done), (2, 1, 0));
    assert_eq!(queue.retry(failed).unwrap(), Ordered::Yes);
    assert_eq!(next(&queue, LaneKind::Any), Some(failed));
    assert_eq!(queue.files(failed).unwrap().len(), 2);
}

#[test]
fn others_cannot_read_the_queue() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    let queue = Queue::open(&path).unwrap();
    queue.push(&job("cloud", Priority::Routine)).unwrap();
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0);
    }
}

#[test]
fn a_newer_queue_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    drop(Queue::open(&path).unwrap());
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(Queue::open(&path), Err(QueueError::Version { found: 99, known: 2 })));
}

#[test]
fn what_an_operator_orders_holds_whatever_the_try_says_later() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    let queue = Queue::open(&path).unwrap();
    let [runs, waits, fails] = [0; 3].map(|_| queue.push(&job("cloud", Priority::Routine)).unwrap());
    for id in [runs, waits, fails] {
        assert_eq!(next(&queue, LaneKind::Any), Some(id));
    }
    queue.wait(waits, "unreachable", Duration::from_secs(3600)).unwrap();
    let waiting = queue.job(waits).unwrap().unwrap();
    assert!(waiting.next_try.is_some_and(|at| at > waiting.created), "{waiting:?}");
    queue.fail(fails, "not-allowed").unwrap();
    assert!(!queue.is_cut(runs));
    assert_eq!(queue.dismiss(runs).unwrap(), Ordered::No(JobState::Running));
    for id in [runs, waits] {
        assert_eq!(queue.cancel(id).unwrap(), Ordered::Yes);
    }
    assert!(queue.is_cut(runs), "who sends it is told");
    // The try that ran says how it ended, after the order.
    queue.wait(runs, "line-lost", Duration::ZERO).unwrap();
    queue.put_back(runs).unwrap();
    queue.fail(runs, "line-lost").unwrap();
    assert_eq!(queue.job(runs).unwrap().unwrap().state, JobState::Cancelled);
    assert_eq!(next(&queue, LaneKind::Any), None);
    assert_eq!(queue.cancel(runs).unwrap(), Ordered::No(JobState::Cancelled));
    assert_eq!(queue.dismiss(fails).unwrap(), Ordered::Yes);
    assert_eq!(queue.retry(fails).unwrap(), Ordered::No(JobState::Dismissed));
    assert_eq!((queue.cancel(99).unwrap(), queue.dismiss(99).unwrap()), (Ordered::Unknown, Ordered::Unknown));
    drop(queue);
    let queue = Queue::open(&path).unwrap();
    assert_eq!(next(&queue, LaneKind::Any), None, "nor after a restart");
    assert_eq!(queue.retry(runs).unwrap(), Ordered::Yes, "who thinks better of it can go on");
    assert_eq!(next(&queue, LaneKind::Any), Some(runs));
    assert!(!queue.is_cut(runs), "an old order does not cut a new try");
    assert_eq!(queue.orphan("cloud", "peer-removed").unwrap(), 1);
    assert!(queue.is_cut(runs));
    assert_eq!(queue.job(runs).unwrap().unwrap().last_error.as_deref(), Some("peer-removed"));
    assert_eq!(queue.job(waits).unwrap().unwrap().state, JobState::Cancelled, "what is over stays as it is");
}

#[test]
fn a_queue_of_the_first_version_is_brought_forward() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("queue.db");
    let id = Queue::open(&path).unwrap().push(&job("cloud", Priority::Routine)).unwrap();
    let db = Connection::open(&path).unwrap();
    db.execute_batch(
        "ALTER TABLE job DROP COLUMN gone; DROP TABLE receipt_study; DROP TABLE history; PRAGMA user_version = 1;",
    )
    .unwrap();
    drop(db);
    let queue = Queue::open(&path).unwrap();
    assert_eq!(next(&queue, LaneKind::Any), Some(id));
    assert_eq!(queue.job(id).unwrap().unwrap().gone, 0);
}
