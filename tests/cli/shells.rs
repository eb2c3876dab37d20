//! The scripts that shells complete commands with.

use std::process::Command;

use crate::polylogue;

#[test]
fn bash_completes_commands_and_options() {
    let script = polylogue(&["completions", "bash"], "").done();
    let ask = "COMP_WORDS=(polylogue topic create --par); COMP_CWORD=3; \
               _polylogue polylogue --par create; echo \"${COMPREPLY[@]}\"";
    let answer = Command::new("bash").args(["-c", &format!("{script}\n{ask}")]).output().unwrap();
    let completed = String::from_utf8_lossy(&answer.stdout);
    assert!(completed.contains("--partitions"), "{completed}{}", String::from_utf8_lossy(&answer.stderr));
}

#[test]
fn every_shell_has_a_script() {
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert!(polylogue(&["completions", shell], "").done().contains("polylogue"), "{shell}");
    }
}
