use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::*;

const KEY: &str = "0000000000000000000000000000000000000000000000000000000000000001";

fn load(folder: &Path, text: &str) -> Result<Config, ConfigError> {
    let file = folder.join("imgxferd.toml");
    std::fs::write(&file, format!("state_dir = \"state\"\n{text}")).unwrap();
    Config::load(&Sources::file(file))
}

/// The text must be refused at this line, with these words in the message.
fn refused(text: &str, line: usize, words: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let error = load(folder.path(), text).expect_err(text);
    let message = error.to_string();
    assert!(matches!(error.origin, Origin::File { line: found, .. } if found == line), "{text}\n{message}");
    for word in words {
        assert!(message.contains(word), "{word:?} is not in: {message}");
    }
    for inner in ["serde", "struct ", "u64", "f64", "sequence", "invalid type", "variant"] {
        assert!(!message.contains(inner), "{inner:?} is in: {message}");
    }
}

#[test]
fn a_file_with_nothing_in_it_gives_the_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let config = load(folder.path(), "").unwrap();
    assert_eq!(config.state_dir, folder.path().join("state"));
    assert_eq!(config.store, folder.path().join("state/store"));
    assert_eq!(config.quic, "[::]:11120".parse().unwrap());
    assert_eq!(config.admin, "127.0.0.1:11121".parse().unwrap());
    assert!(config.peers.is_empty() && config.inboxes.is_empty());
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    refused("[listen]\nqiuc = \"[::]:1\"\n", 3, &["listen", "no setting `qiuc`", "`quic`", "spelling"]);
    refused("\nlisten = 3\n", 3, &["listen: 3", "[listen]"]);
    refused("[listen]\nquic = 11120\n", 3, &["listen.quic: 11120", "in quotes"]);
    refused("[listen]\nquic = \"11120\"\n", 3, &["listen.quic", "not an IP address and port"]);
    refused("[listen]\nprofile = \"fast\"\n", 3, &["listen.profile", "\"copper\""]);
    refused("[listen]\nmtu = 9000\n", 3, &["listen.mtu", "1452 and 8952"]);
    refused("[listen]\nmtu = \"jumbo\"\n", 3, &["listen.mtu", "\"jumbo\"", "\"auto\"", "1452 to 8952"]);
    refused("[listen]\nmtu = -1\n", 3, &["listen.mtu: -1", "\"auto\"", "bytes"]);
    refused("[listen]\ncongestion = \"bbr\"\n", 3, &["listen.congestion", "\"own\"", "\"cubic\""]);
    refused("[listen]\ndscp = 64\n", 3, &["listen.dscp", "0 and 63"]);
    refused("[limits]\ntransfers = 0\n", 3, &["limits.transfers", "1 and 1024"]);
    refused("[limits]\ntransfers = \"many\"\n", 3, &["limits.transfers: \"many\"", "whole number"]);
    refused("[log]\nlevel = \"loud=very\"\n", 3, &["log.level", "warn"]);
    refused("[site]\nname = \"\"\n", 3, &["site.name"]);
    refused("[log]\nlevel = \"loud\"\n", 3, &["log.level: \"loud\"", "error, warn, info, debug, trace"]);
    refused("[log]\nlevel = \"info,\"\n", 3, &["log.level", "error, warn"]);
    refused("[log]\nlevel = \"off\"\n", 3, &["log.level: \"off\"", "error, warn"]);
    refused("[site\n", 2, &["`[site`", "not TOML"]);
    refused("site\n", 2, &["`site`", "KEY = VALUE"]);
    refused("[limits]\ntransfers = 1\ntransfers = 2\n", 4, &["transfers", "written twice"]);
    refused("peers = 3\n", 2, &["peers: 3", "[[peers]]"]);
    refused("[peers]\nname = \"a\"\n", 2, &["peers: [peers]", "[[peers]]"]);
    refused("[[listen]]\nquic = \"a\"\n", 2, &["listen:", "write [listen]"]);
    refused("[listen]\ntcp_fallback = \"yes\"\n", 3, &["listen.tcp_fallback: \"yes\"", "true or false"]);
    refused("[limits]\ntransfers = -1\n", 3, &["limits.transfers: -1", "whole number, 0 or more"]);
    refused("[limits]\nrates = [3]\n", 3, &["limits.rates: 3", "mbps = 4"]);
    refused("[consultation]\nmbps = \"1\"\n", 3, &["consultation.mbps: \"1\"", "a number"]);
    refused("[admin]\nhosts = \"x\"\n", 3, &["admin.hosts: \"x\"", "a list in [ ]"]);
    refused("[[peers]]\nkey = \"ix-a\"\n", 2, &["peers: `name` is missing", "add it"]);
    refused("[[peers]]\nname = 3\n", 3, &["peers.name: 3", "in quotes"]);
    refused("[[peers]]\nname = \"a\"\nsees = 3\n", 4, &["peers.sees: 3", "\"own\""]);
    refused("[[peers]]\nname = \"a\"\nrights = \"send\"\n", 4, &["peers.rights: \"send\"", "a list"]);
    refused("[[peers]]\nname = \"a\"\nrights = [3]\n", 4, &["peers.rights: 3", "in quotes"]);
    refused("[[peers]]\nname = \"a b\"\n", 3, &["peers.name", "letters"]);
    refused("[[peers]]\nname = \"a\"\n", 2, &["peers.key", "add key"]);
    refused("[[peers]]\nname = \"a\"\nkey = \"ix-a\"\n", 4, &["peers.key", "imgxfer id"]);
    refused(&format!("[[peers]]\nname = \"a\"\nkey = \"{KEY}\"\naddress = \"cloud\"\n"), 5, &["HOST:PORT"]);
    refused(&format!("[[peers]]\nname = \"a\"\nkey = \"{KEY}\"\nrights = [\"remove\"]\n"), 5, &["\"delete\""]);
    refused(&format!("[[peers]]\nname = \"a\"\nkey = \"{KEY}\"\nsees = \"most\"\n"), 5, &["\"own\""]);
    let sees = |list: &str, line, words: &[&str]| {
        refused(&format!("[[peers]]\nname = \"a\"\nkey = \"{KEY}\"\nsees = {list}\n"), line, words);
    };
    sees("[\"own\", \"folder:/srv/in\"]", 5, &["peers.sees", "\"folder:/srv/in\"", "\"inbox:PATH\"", "\"peer:NAME\""]);
    sees("[\"inbox:in\"]", 5, &["whole path"]);
    sees("[\"ae:\"]", 5, &["behind the colon"]);
    sees("[\"all\"]", 5, &["stands alone"]);
    sees("[\"peer:b\"]", 2, &["no peer \"b\""]);
    sees(&format!("[\"inbox:/{}\"]", "x".repeat(1000)), 5, &["too long"]);
    refused(&format!("[[peers]]\nname = \"a\"\nkey = \"{KEY}\"\nsees = [\"b\"]\n"), 2, &["no peer \"b\""]);
    for level in ["5", "-1", "\"fast\""] {
        refused(&format!("[[peers]]\nname = \"a\"\nkey = \"{KEY}\"\nlevel = {level}\n"), 5, &["auto", "0 to 4"]);
    }
    let peer = format!("[[peers]]\nname = \"a\"\nkey = \"{KEY}\"\n");
    refused(&format!("{peer}priority = \"urgent\"\n"), 5, &["peers.priority", "\"background\""]);
    refused(&format!("{peer}limits = [{{ hours = \"08:00-18:00\" }}]\n"), 5, &["peers.limits: `mbps` is missing"]);
    refused(&format!("{peer}limits = [{{ hours = \"8-18\", mbps = 4 }}]\n"), 5, &["peers.limits.hours", "18:00"]);
    refused(&format!("{peer}limits = [\n{{ days = \"Monday\", mbps = 4 }}]\n"), 6, &["peers.limits.days", "mon-fri"]);
    refused("[store]\nscrub_bytes_per_second = 100\n", 3, &["store.scrub_bytes_per_second", "65536"]);
    refused("[limits]\nrates = [{ mbps = 0 }]\n", 3, &["limits.rates.mbps", "0.1"]);
    refused("[consultation]\nmbps = 0.01\n", 3, &["consultation.mbps", "0.1"]);
    refused("[consultation]\nminutes = 241\n", 3, &["consultation.minutes", "240"]);
    refused("[[inbox]]\npath = \"in\"\nto = \"a\"\n", 4, &["inbox.to", "no peer \"a\""]);
    refused("[[inbox]]\npath = \"in\"\nto = \"self\"\n", 4, &["inbox.to", "leave `to` out"]);
    refused("[identity]\nkey = \"k.pem\"\n", 3, &["identity.certificate", "missing"]);
}

#[test]
fn settings_that_weaken_safety_are_refused() {
    refused("[admin]\nlisten = \"0.0.0.0:80\"\n", 3, &["admin.listen", "allow_remote"]);
    refused("[store]\nreserve_bytes = 0\n", 3, &["store.reserve_bytes"]);
    refused("[[peers]]\nname = \"a\"\nsubject = \"CN=a\"\n", 4, &["authorities"]);
    refused("[trust]\nauthorities = \"ca.pem\"\n[[peers]]\nname = \"a\"\nsubject = \"\"\n", 6, &["fit nobody"]);
    let peer = format!("[[peers]]\nname = \"a\"\nkey = \"{KEY}\"\naddress = \"a:1\"\n");
    refused(
        &format!("{peer}[[peers]]\nname = \"A\"\nkey = \"{}2\"\n", &KEY[1..]),
        6,
        &["peers.name", ":2:", "remove one"],
    );
    refused(&format!("{peer}[[peers]]\nname = \"b\"\nkey = \"{KEY}\"\n"), 6, &["peers.key", "same key"]);
    let inbox = format!("{peer}[[inbox]]\npath = \"in\"\nto = \"a\"\n");
    refused(&format!("{inbox}after = \"move:in/done\"\n"), 9, &["inside the inbox"]);
    refused(&format!("{inbox}after = \"burn\"\n"), 9, &["keep"]);
    refused(&format!("{inbox}[[inbox]]\npath = \"in/x/../y\"\nto = \"a\"\n"), 10, &["overlaps"]);
    refused(&format!("{peer}[[inbox]]\npath = \"state/in\"\nto = \"a\"\n"), 7, &["state folder"]);
    let no_address = format!("[[peers]]\nname = \"a\"\nkey = \"{KEY}\"\n[[inbox]]\npath = \"in\"\nto = \"a\"\n");
    refused(&no_address, 7, &["no address"]);
}

#[test]
fn a_file_that_others_may_change_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    load(folder.path(), "").unwrap();
    let file = folder.path().join("imgxferd.toml");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).unwrap();
    let message = Config::load(&Sources::file(&file)).unwrap_err().to_string();
    assert!(message.contains("chmod o-w"), "{message}");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::create_dir(folder.path().join("state")).unwrap();
    let paired = folder.path().join("state/peers.toml");
    std::fs::write(&paired, "").unwrap();
    std::fs::set_permissions(&paired, std::fs::Permissions::from_mode(0o644)).unwrap();
    let message = Config::load(&Sources::file(&file)).unwrap_err().to_string();
    assert!(message.contains("chmod 600"), "{message}");
}

#[test]
fn later_places_win_over_earlier_ones() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("imgxferd.toml");
    std::fs::create_dir(folder.path().join("conf.d")).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let setting = |config: &Config, key: &str| {
        let found = config.settings().iter().find(|setting| setting.key == key).unwrap();
        (found.value.clone(), found.origin.to_string())
    };
    let variables = |list: &[(&str, &str)]| -> Vec<(OsString, OsString)> {
        list.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
    };
    write("imgxferd.toml", "state_dir = \"s\"\n[limits]\ntransfers = 2\n");
    let sources = Sources::file(&file);
    assert_eq!(Config::load(&sources).unwrap().transfers, 2);
    write("conf.d/20.toml", "[limits]\ntransfers = 4\n");
    write("conf.d/10.toml", "[limits]\ntransfers = 3\ndrain_seconds = 5\n");
    write("conf.d/30.toml.bak", "nonsense");
    let config = Config::load(&sources).unwrap();
    assert_eq!((config.transfers, config.drain.as_secs()), (4, 5));
    assert!(setting(&config, "limits.transfers").1.ends_with("conf.d/20.toml:2:13"));

    let sources = sources.with_environment(variables(&[
        ("IMGXFERD_LIMITS__TRANSFERS", "5"),
        ("IMGXFERD_SITE__NAME", "1234"),
        ("IMGXFERD_LISTEN__QUIC", "[::1]:7"),
        ("IMGXFER_STATE_DIR", "/the/command/lines"),
        ("PATH", "/bin"),
    ]));
    let config = Config::load(&sources).unwrap();
    assert_eq!((config.transfers, config.site_name.as_str()), (5, "1234"));
    assert_eq!(config.quic, "[::1]:7".parse().unwrap());
    assert_eq!(setting(&config, "limits.transfers").1, "environment IMGXFERD_LIMITS__TRANSFERS");

    let sources = sources.with_flags(vec!["limits.transfers=6".to_owned()]);
    let config = Config::load(&sources).unwrap();
    assert_eq!(setting(&config, "limits.transfers"), ("6".to_owned(), "flag --set limits.transfers=6".to_owned()));
    assert_eq!(setting(&config, "log.level"), ("\"info\"".to_owned(), "default".to_owned()));

    let wrong = Sources::file(&file).with_environment(variables(&[("IMGXFERD_LIMTIS__TRANSFERS", "5")]));
    let message = Config::load(&wrong).unwrap_err().to_string();
    assert!(message.contains("environment IMGXFERD_LIMTIS__TRANSFERS") && message.contains("limtis"), "{message}");
}

#[test]
fn paired_peers_are_added_and_may_not_repeat_configured_ones() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("state")).unwrap();
    let paired = folder.path().join("state/peers.toml");
    std::fs::write(&paired, format!("[[peers]]\nname = \"b\"\nkey = \"{KEY}\"\nrights = [\"send\"]\n")).unwrap();
    std::fs::set_permissions(&paired, std::fs::Permissions::from_mode(0o600)).unwrap();
    let config = load(folder.path(), "").unwrap();
    assert!(config.peer("b").unwrap().rights.send);
    let error = load(folder.path(), &format!("[[peers]]\nname = \"a\"\nkey = \"{KEY}\"\n")).unwrap_err();
    assert!(error.to_string().contains("peers.toml:1:1: peers.key"), "{error}");
}

#[test]
fn tcp_is_fallen_back_to_unless_told_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    assert!(load(folder.path(), "").unwrap().tcp_fallback);
    let config = load(folder.path(), "[listen]\ntcp_fallback = false\n").unwrap();
    assert!(!config.tcp_fallback);
    let line = config.settings().iter().map(ToString::to_string).find(|line| line.contains("tcp_fallback"));
    assert!(line.unwrap().contains("false"));
}

#[test]
fn packets_are_tuned_as_told() {
    use imgxfer_core::transport::Congestion;
    let folder = tempfile::tempdir().unwrap();
    let shown = |config: &Config, key: &str| {
        let found = config.settings().iter().find(|setting| setting.key == key);
        found.map(|setting| setting.value.clone())
    };
    let config = load(folder.path(), "").unwrap();
    assert!(config.mtu.is_none() && config.dscp.is_none() && matches!(config.congestion, Congestion::Rate));
    assert_eq!((shown(&config, "listen.mtu"), shown(&config, "listen.dscp")), (Some("\"auto\"".to_owned()), None));
    let config = load(folder.path(), "[listen]\nmtu = 8952\ncongestion = \"cubic\"\ndscp = 0\n").unwrap();
    assert!(config.mtu == Some(8952) && matches!(config.congestion, Congestion::Cubic));
    assert_eq!(config.dscp.map(|dscp| dscp.get()), Some(0));
    let keys = ["mtu", "congestion", "dscp"].map(|key| shown(&config, &format!("listen.{key}")).unwrap());
    assert_eq!(keys, ["8952", "\"cubic\"", "0"]);
    assert_eq!(load(folder.path(), "[listen]\nmtu = \"auto\"\n").unwrap().mtu, None);
}

#[test]
fn the_example_is_a_sound_configuration() {
    let example = include_str!("../../../../docs/imgxferd.example.toml");
    let folder = tempfile::tempdir().unwrap();
    let uncommented: String = example
        .lines()
        .map(|line| line.strip_prefix("#: ").unwrap_or(line))
        .filter(|line| !line.starts_with("state_dir"))
        .fold(String::new(), |text, line| text + line + "\n");
    let config = load(folder.path(), &uncommented).unwrap();
    assert_eq!((config.peers.len(), config.inboxes.len()), (1, 1));
}

#[test]
fn limits_and_priorities_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "[limits]\nrates = [{{ mbps = 50 }}]\n[consultation]\nmbps = 0.5\nstat_mbps = 2\nminutes = 45\n\
         [[peers]]\nname = \"a\"\nkey = \"{KEY}\"\naddress = \"a:1\"\npriority = \"background\"\n\
         limits = [{{ days = \"mon-fri\", hours = \"08:00-18:00\", mbps = 4 }}, {{ mbps = 20.5 }}]\n\
         [[inbox]]\npath = \"in\"\nto = \"a\"\n[[inbox]]\npath = \"stat\"\nto = \"a\"\npriority = \"stat\"\n"
    );
    let config = load(folder.path(), &text).unwrap();
    let monday = |hour: i8| jiff::civil::date(2026, 11, 23).at(hour, 0, 0, 0);
    let peer = config.peer("a").unwrap();
    assert_eq!((peer.limits.at(monday(9)), peer.limits.at(monday(19))), (Some(500_000), Some(2_562_500)));
    assert_eq!(config.rates.at(monday(9)), Some(6_250_000));
    let call = config.consultation;
    assert_eq!((call.bytes_a_second, call.stat_bytes_a_second, call.time.as_secs()), (62_500, Some(250_000), 2_700));
    use imgxfer_core::priority::Priority;
    let priorities: Vec<Priority> = config.inboxes.iter().map(|inbox| inbox.priority).collect();
    assert_eq!(priorities, [Priority::Background, Priority::Stat]);
    let shown = |key: &str| config.settings().iter().find(|setting| setting.key == key).unwrap().value.clone();
    assert_eq!(shown("peers.a.limits"), "[\"mon-fri 08:00-18:00 4 Mbit/s\", \"20.5 Mbit/s\"]");
    assert_eq!(shown("limits.rates"), "[\"50 Mbit/s\"]");
}

#[test]
fn an_inbox_without_a_peer_puts_into_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let config = load(folder.path(), "[[inbox]]\npath = \"in\"\nafter = \"delete\"\n").unwrap();
    let inbox = Inbox::into_store(folder.path().join("in")).with_after(After::Delete);
    assert_eq!(config.inboxes, [inbox]);
    let keys: Vec<&str> = config.settings().iter().map(|setting| setting.key.as_str()).collect();
    assert!(keys.contains(&"inbox.path") && !keys.contains(&"inbox.to"), "{keys:?}");
}

#[test]
fn the_audit_is_on_and_can_be_turned() {
    let folder = tempfile::tempdir().unwrap();
    let audit = load(folder.path(), "").unwrap().audit;
    assert_eq!(audit, AuditConfig::in_folder(folder.path().join("state/audit")));
    let text = "[audit]\npath = \"trail\"\nkeep_days = 400\nrequired = true\n";
    let audit = load(folder.path(), text).unwrap().audit;
    assert_eq!((audit.path, audit.required), (folder.path().join("trail"), true));
    assert_eq!(audit.keep, Some(std::time::Duration::from_hours(400 * 24)));
    assert!(!load(folder.path(), "[audit]\nenabled = false\n").unwrap().audit.enabled);
    refused("[audit]\nkeep_days = 0\n", 3, &["audit.keep_days", "1 and 36500"]);
    refused("[audit]\nenabled = false\nrequired = true\n", 4, &["audit.required", "audit.enabled"]);
}

#[test]
fn a_log_level_for_one_target_leaves_the_others_be() {
    let folder = tempfile::tempdir().unwrap();
    let level = |text: &str| load(folder.path(), &format!("[log]\nlevel = \"{text}\"\n")).unwrap().log_level;
    assert_eq!(level("imgxfer_core=debug"), "info,imgxfer_core=debug");
    assert_eq!(level("WARN,quinn=off"), "WARN,quinn=off");
}

#[test]
fn what_a_reload_takes_and_what_waits_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let settings = |text: &str| load(folder.path(), text).unwrap().settings().to_vec();
    let peer = |rights: &str| format!("[[peers]]\nname = \"a\"\nkey = \"{KEY}\"\nrights = [{rights}]\n");
    let start = settings(&peer("\"send\""));
    let second = settings(&format!("[log]\nlevel = \"debug\"\n[limits]\nrates = [{{ mbps = 2 }}]\n{}", peer("")));
    let reloaded = Reloaded::between(&start, &start, &second);
    assert_eq!(reloaded.taken, ["limits.rates", "peers.a.rights"]);
    assert_eq!(reloaded.waiting, ["log.level"]);
    // What waits still waits after another reload; what was taken is not told again.
    let reloaded = Reloaded::between(&start, &second, &second);
    assert_eq!((reloaded.taken, reloaded.waiting), (Vec::new(), vec!["log.level".to_owned()]));
    let inboxes = settings(&format!("{}[[inbox]]\npath = \"in\"\n", peer("\"send\"")));
    let waiting = Reloaded::between(&start, &start, &inboxes).waiting;
    assert!(waiting.contains(&"inbox.path".to_owned()), "{waiting:?}");
}
