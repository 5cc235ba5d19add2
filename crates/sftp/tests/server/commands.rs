//! Commands on a server: what goes in, what comes out, and how they end.

use std::fs;
use std::time::Duration;

use restic_oracle::SshdOptions;
use restic_sftp::{Command, Error};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::testbed::Testbed;

async fn start(testbed: &Testbed, line: &'static str) -> Result<Command, Error> {
    Command::start(&testbed.connector(testbed.proxy.port()).unwrap(), line).await
}

#[tokio::test]
async fn what_a_command_reads_and_says_goes_through_in_any_amount() {
    let testbed = Testbed::new();
    let line = "tee /dev/stderr; exit 7";
    let Command { mut input, mut output, mut errors, end } = start(&testbed, line).await.unwrap();
    let sent: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let (mut said, mut complained) = (Vec::new(), Vec::new());
    let send = async {
        input.write_all(&sent).await.unwrap();
        drop(input);
    };
    let (_, out, err) =
        tokio::join!(send, output.read_to_end(&mut said), errors.read_to_end(&mut complained));
    out.unwrap();
    err.unwrap();
    assert!(said == sent && complained == sent, "{} {}", said.len(), complained.len());
    assert_eq!(end.wait().await, Some(7));
}

#[tokio::test]
async fn a_command_that_is_not_there_says_so_and_ends() {
    let testbed = Testbed::new();
    let Command { mut errors, end, .. } = start(&testbed, "no-such-command").await.unwrap();
    let mut said = String::new();
    errors.read_to_string(&mut said).await.unwrap();
    assert!(said.contains("no-such-command"), "{said}");
    assert_eq!(end.wait().await, Some(127));
}

#[tokio::test]
async fn the_input_of_a_command_ends_when_it_is_dropped() {
    let testbed = Testbed::new();
    let mark = testbed.path().with_file_name("mark");
    let script = testbed.path().with_file_name("script");
    fs::write(&script, format!("echo begun; cat; touch {}", mark.display())).unwrap();
    // The line is constant, so the script is found by what the server sets.
    let options = SshdOptions::internal("").line(format!("SetEnv SCRIPT={}", script.display()));
    let other = Testbed::with(&options);
    let mut command = start(&other, "exec sh \"$SCRIPT\"").await.unwrap();
    let mut begun = [0; 5];
    command.output.read_exact(&mut begun).await.unwrap();
    drop(command);
    while !mark.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_an_end_without_a_status() {
    let testbed = Testbed::new();
    let mut command = start(&testbed, "cat").await.unwrap();
    command.input.write_all(b"x").await.unwrap();
    let mut back = [0];
    command.output.read_exact(&mut back).await.unwrap();
    testbed.proxy.cut();
    assert_eq!(command.output.read(&mut back).await.unwrap(), 0);
    assert_eq!(command.end.wait().await, None);
}

#[tokio::test]
async fn an_account_that_may_do_nothing_but_sftp_runs_nothing_else() {
    let testbed = Testbed::with(&SshdOptions::internal("").line("ForceCommand internal-sftp"));
    let Command { mut output, end, .. } = start(&testbed, "echo unwanted").await.unwrap();
    let mut said = String::new();
    output.read_to_string(&mut said).await.unwrap();
    assert!(!said.contains("unwanted"), "{said}");
    assert_eq!(end.wait().await, Some(1));

    // Where that is a program, it takes the place of every command.
    let options = SshdOptions::external("");
    let program = options.subsystem.clone().unwrap();
    let testbed = Testbed::with(&options.line(format!("ForceCommand {program}")));
    let mut command = start(&testbed, "echo unwanted").await.unwrap();
    command.input.write_all(b"\0\0\0\x05\x01\0\0\0\x03").await.unwrap();
    let mut answer = [0; 5];
    command.output.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer[4], 2, "the number of SSH_FXP_VERSION");
}

#[tokio::test]
async fn who_is_not_let_in_runs_nothing() {
    let testbed = Testbed::new();
    fs::write(testbed.server.folder().join("user_key.pub"), "").unwrap();
    let error = start(&testbed, "true").await.unwrap_err();
    assert!(matches!(error, Error::NoKeyAccepted { .. }), "{error}");
}
