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
    assert!(queue.retry(first).unwrap());
    assert_eq!(next(&queue, LaneKind::Any), Some(first));
    assert_eq!(queue.job(first).unwrap().unwrap().attempts, 2);
    assert!(!queue.retry(first).unwrap(), "a running job cannot be retried");
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
    assert!(queue.retry(failed).unwrap());
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
    assert!(matches!(Queue::open(&path), Err(QueueError::Version { found: 99, known: 1 })));
}
