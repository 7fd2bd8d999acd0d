//! What was typed into a real bash and a real zsh, with their marks and without. Absent on purpose: SSH in between; the relay's tests
//! have it.
#![expect(clippy::disallowed_methods, reason = "runs shells")]

use crate::recorded;

use recorded::Shell;

const BASHRC: &str = "PS1='host$ '; PS2='> '; HISTFILE=; HISTCONTROL=; shopt -s checkwinsize\n";
const ZSHRC: &str = "PS1='host$ '; PS2='> '; unsetopt prompt_sp; setopt interactive_comments; bindkey -e\n";

fn contrib(name: &str) -> String {
    std::fs::read_to_string(format!("{}/contrib/shell-integration/{name}", env!("CARGO_MANIFEST_DIR")))
        .unwrap()
}

async fn bash(marks: bool) -> Shell {
    // Twice: the second time does nothing.
    let marks = if marks { contrib("pforte.bash").repeat(2) } else { String::new() };
    let rc = format!("{BASHRC}{marks}");
    Shell::start("bash", &["--noprofile", "--rcfile", "rc", "-i"], &[("rc", &rc), ("unique-name", "x\n")])
        .await
}

async fn zsh(marks: bool) -> Shell {
    let marks = if marks { contrib("pforte.zsh").repeat(2) } else { String::new() };
    let rc = format!("{ZSHRC}{marks}");
    Shell::start("zsh", &["-d", "-i"], &[(".zshrc", &rc), ("unique-name", "x\n")]).await
}

/// What people do at any shell; the lines that must come of it.
async fn usual(shell: &mut Shell) -> Vec<&'static str> {
    shell.line("echo one", "one").await;
    shell.line("\x1b[A", "one").await;
    shell.line("echo abx\x7fc", "c").await;
    shell.line("cho mid\x01e", "e").await;
    // Found again, taken by Enter.
    shell.keys("\x12").await;
    shell.until("search").await;
    shell.line("one", "e").await;
    shell.line("cat uni\t", "que-name").await;
    shell.keys("echo thrown away").await;
    shell.until("away").await;
    shell.waits().await;
    shell.keys("\x03").await;
    shell.until("host$ ").await;
    shell.line("", "").await;
    shell.line("echo 你好 ä", "ä").await;
    // Typed ahead: the second before the first has run.
    shell.keys("echo t1\recho t2\r").await;
    shell.until("t2\r\n").await;
    shell.until("host$ ").await;
    shell.keys("less unique-name").await;
    shell.until("unique-name").await;
    shell.keys("\r").await;
    shell.until("\x1b[?1049h").await;
    shell.until("unique-name").await;
    shell.keys("/typed-in-less\r").await;
    shell.until("not found").await;
    shell.keys("\r").await;
    shell.keys("q").await;
    shell.until("host$ ").await;
    vec![
        "echo one",
        "echo one",
        "echo abc",
        "echo mid",
        "echo one",
        "cat unique-name",
        "echo 你好 ä",
        "echo t1",
        "echo t2",
        "less unique-name",
    ]
}

fn all(how: &str, lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| format!("{how} {line}")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_a_bash_without_marks_are_read_off_the_screen() {
    let mut shell = bash(false).await;
    let mut expected = usual(&mut shell).await;
    expected.push("exit");
    let (typed, recorded) = shell.finish().await;
    assert_eq!(typed, all("screen", &expected));
    assert!(recorded.contains("typed (screen): echo abc\n"), "{recorded}");
    assert!(recorded.contains("full screen: entered\n") && recorded.contains("full screen: left\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_a_bash_with_marks_are_its_own_words() {
    let mut shell = bash(true).await;
    let mut expected = usual(&mut shell).await;
    shell.line("echo 'a;b' \\\\ \"$(echo '\\')\"", "\"").await;
    shell.line(" echo  two   blanks", "blanks").await;
    expected.extend(["echo 'a;b' \\\\ \"$(echo '\\')\"", " echo  two   blanks", "exit"]);
    let (typed, _) = shell.finish().await;
    assert_eq!(typed, all("marks", &expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_a_zsh_without_marks_are_read_off_the_screen() {
    let mut shell = zsh(false).await;
    let mut expected = usual(&mut shell).await;
    expected.push("exit");
    let (typed, _) = shell.finish().await;
    assert_eq!(typed, all("screen", &expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_a_zsh_with_marks_are_its_own_words() {
    let mut shell = zsh(true).await;
    let mut expected = usual(&mut shell).await;
    shell.line("echo 'a;b' \\\\ x", "x").await;
    expected.extend(["echo 'a;b' \\\\ x", "exit"]);
    let (typed, _) = shell.finish().await;
    assert_eq!(typed, all("marks", &expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_not_echoed_is_nowhere() {
    for marks in [false, true] {
        let mut shell = bash(marks).await;
        // Echo is off before they ask: what is typed sooner is on the screen, for all to see.
        let asks = [
            "stty -echo; printf 'Pa%s: ' ss; read -r x; stty echo; echo got",
            "stty -echo; printf 'Pa%s:\\n' ss; head -1 >x; stty echo; echo got",
            "stty -echo; printf 'Pa%s: ' ss; read -s x; echo; stty echo; echo got",
        ];
        for ask in asks {
            shell.keys(ask).await;
            shell.until("got").await;
            shell.keys("\r").await;
            shell.until("Pass:").await;
            for key in "hunter2".chars() {
                shell.keys(&key.to_string()).await;
            }
            shell.keys("\r").await;
            shell.until("got").await;
            shell.until("host$ ").await;
        }
        shell.line("echo after", "after").await;
        let (typed, recorded) = shell.finish().await;
        assert_eq!(typed.len(), 5, "{typed:?}");
        assert!(typed[3].ends_with(" echo after"), "{typed:?}");
        assert!(!recorded.contains("hunter") && !typed.concat().contains("hunter"), "{typed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_line_a_resize_and_a_bracketed_paste_are_read_whole() {
    for marks in [false, true] {
        let mut shell = bash(marks).await;
        let long = format!("echo {}end", "w".repeat(150));
        shell.line(&long, "end").await;
        // Recalled and changed at its beginning: three rows are drawn anew.
        shell.keys("\x1b[A").await;
        shell.until("end").await;
        shell.line("\x01\x1b[C\x1b[C\x1b[C\x1b[C -n\x05", "n").await;
        shell.keys("echo resi").await;
        shell.until("resi").await;
        shell.resize(60, 20).await;
        shell.line("zed now", "now").await;
        shell.keys("\x1b[200~echo p1\recho p2\x1b[201~").await;
        shell.until("p2").await;
        shell.keys("\r").await;
        shell.until("p2\r\n").await;
        shell.until("host$ ").await;
        shell.keys("for i in 1 2; do").await;
        shell.until("do").await;
        shell.keys("\r").await;
        shell.until("> ").await;
        shell.line("echo $i; done", "done").await;
        let (typed, _) = shell.finish().await;
        let again = long.replace("echo", "echo -n");
        // bash tells a pasted block's first command; a loop it joins to one line.
        let loop_or_rows: &[&str] = if marks {
            &["marks echo p1", "screen echo p2", "marks for i in 1 2; do echo $i; done"]
        } else {
            &["screen echo p1", "screen echo p2", "screen for i in 1 2; do", "screen echo $i; done"]
        };
        let how = if marks { "marks" } else { "screen" };
        let mut expected = all(how, &[&long, &again, "echo resized now"]);
        expected.extend(loop_or_rows.iter().map(|&line| line.to_owned()));
        expected.extend(all(how, &["exit"]));
        assert_eq!(typed, expected);
    }
}

#[test]
fn sourced_where_nobody_sits_the_marks_change_nothing() {
    for (shell, file) in [("bash", "pforte.bash"), ("zsh", "pforte.zsh")] {
        let file = format!("{}/contrib/shell-integration/{file}", env!("CARGO_MANIFEST_DIR"));
        let script = format!("set -eu; . {file}; . {file}; echo \"ok ${{PROMPT_COMMAND-}}${{PS0-}}\"");
        let run =
            std::process::Command::new(shell).args(["-c", &script]).env("TERM", "xterm").output().unwrap();
        assert_eq!(String::from_utf8_lossy(&run.stdout), "ok \n", "{run:?}");
        assert!(run.stderr.is_empty(), "{run:?}");
    }
}
