//! `restore`, where nothing like it was recorded.

use std::fs;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::front_end::FrontEnd;
use crate::oned::{Oned, refusal, success};
use crate::recording::{self, Call};

/// The message of a recorded restore.
fn message(front_end: &FrontEnd, name: &str) -> String {
    let cases = recording::of("restore");
    front_end.adapt(&cases.iter().find(|case| case.name == name).unwrap().stdin)
}

#[test]
fn names_with_quotes_stay_names() {
    let front_end = FrontEnd::new();
    let name = "a\"b 'c' $(id) `id` \\ ü\nd";
    let message = message(&front_end, "restore/tm_local_latest_of_unflattened_chain");
    let message = message.replace("[loc]", &format!("[{name}]"));
    let answers = vec![
        call("one.image.allocate", success("<i4>34</i4>")),
        call("one.template.allocate", success("<i4>15</i4>")),
    ];
    let oned = Oned::start(answers);
    let ended = front_end.run("restore", &["1"], message.as_bytes(), Some(&oned));
    assert_eq!(ended.success(), "15 34\n");
    let asked = oned.asked();
    let escaped = name.replace('"', "\\\"");
    assert!(asked[0].arguments[0].starts_with(&format!("NAME = \"{escaped}-disk-0\"\nTYPE")));
    assert!(asked[1].arguments[0].ends_with(&format!("\nNAME= \"{escaped}\"\n")));
}

#[test]
fn images_that_were_made_in_vain_are_removed_or_named() {
    let front_end = FrontEnd::new();
    let message = message(&front_end, "restore/two_disks");
    let state = |state: u8| {
        call(
            "one.image.info",
            success(&format!(
                "<string>&lt;IMAGE&gt;&lt;STATE&gt;{state}&lt;/STATE&gt;&lt;/IMAGE&gt;</string>"
            )),
        )
    };
    let made = |image: u8| call("one.image.allocate", success(&format!("<i4>{image}</i4>")));
    let run = |answers: Vec<Call>| {
        let oned = Oned::start(answers);
        let ended = front_end.run("restore", &["16"], message.as_bytes(), Some(&oned));
        let asked: Vec<_> = oned.asked().into_iter().map(|asked| asked.method).collect();
        (ended, asked.join(" "))
    };

    // The first image is still being copied at the first look.
    let (ended, asked) = run(vec![
        made(18),
        call("one.image.allocate", refusal("no quota 'left'")),
        state(4),
        state(1),
        call("one.image.delete", success("<i4>18</i4>")),
    ]);
    assert_eq!(
        ended.error(),
        "Error restoring disk image: no quota left; these images were made and removed again: 18"
    );
    assert_eq!(
        asked,
        "one.image.allocate one.image.allocate one.image.info one.image.info one.image.delete"
    );

    // Somebody uses one of them already.
    let (ended, _) = run(vec![
        made(18),
        made(19),
        call("one.template.allocate", refusal("no")),
        state(2),
        state(1),
        call("one.image.delete", refusal("it is in use")),
    ]);
    let error = ended.error();
    assert!(error.starts_with("Error creating VM template: no"), "{error}");
    assert!(error.contains("The following images were restored: 18 19"), "{error}");
}

fn call(method: &str, answer: String) -> Call {
    Call { method: method.to_owned(), arguments: Vec::new(), answer }
}

#[test]
fn the_state_of_a_tpm_is_part_of_the_template() {
    let front_end = FrontEnd::new();
    let source = front_end.scratch.folder("vms/7/backup");
    let vm = "<VM><ID>7</ID><TEMPLATE><CPU>1</CPU><DISK><DISK_ID>0</DISK_ID><TYPE>FILE</TYPE></DISK>\
              </TEMPLATE></VM>";
    fs::write(source.join("vm.xml"), BASE64_STANDARD.encode(vm)).unwrap();
    fs::write(source.join("disk.0.0"), b"a disk").unwrap();
    fs::write(source.join("disk.tpm.0"), b"\x00a state\xff").unwrap();
    let paths = ["disk.0.0", "disk.tpm.0", "vm.xml"].map(|name| source.join(name));
    let paths = paths.each_ref().map(|path| path.to_str().unwrap());
    assert!(front_end.restic("7", &["init"]).status.success());
    let made = front_end.restic("7", &[&["backup", "--json"][..], &paths].concat());
    let made = String::from_utf8(made.stdout).unwrap();
    let (_, id) = made.split_once("\"snapshot_id\":\"").unwrap();
    let id = &id[..8];

    let message = message(&front_end, "restore/full")
        .replace("<VMS><ID>0<", "<VMS><ID>7<")
        .replace("66c01fd7", id);
    let url = format!("restic://102//0:{id}{}", source.display());
    let listed = front_end.run("ls", &["-i", "-1"], message.as_bytes(), None);
    let disks = format!("{{\"0\":\"{url}/disk.0.0\",\"tpm\":\"{url}/disk.tpm.0\"}}\n");
    assert_eq!(listed.success(), disks);

    let oned = Oned::start(vec![
        call("one.image.allocate", success("<i4>30</i4>")),
        call("one.template.allocate", success("<i4>31</i4>")),
    ]);
    let ended = front_end.run("restore", &["1"], message.as_bytes(), Some(&oned));
    assert_eq!(ended.success(), "31 30\n");
    let state = BASE64_STANDARD.encode(b"\x00a state\xff");
    assert_eq!(
        oned.asked()[1].arguments[0],
        format!(
            "CPU= \"1\"\nDISK=[\n    IMAGE_ID=\"30\"\n]\nNAME= \"7-{id}\"\nTPM_STATE = \"{state}\"\n"
        )
    );
}
