//! Apache Kafka's own classes: its command-line tools, its clients, and the broker itself.
//!
//! The jars that `kafka/pom.xml` names are fetched with Maven into `target/clients/kafka/`, once for as
//! long as that file stays the same. Where there is no JVM, no Maven or no network the test says so in one
//! line and passes, unless `POLYLOGUE_CLIENTS=all` asks that no client be skipped.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs, io, iter,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};

use super::skip::{clients_folder, run, skip};

/// What is fetched.
const POM: &str = include_str!("kafka/pom.xml");
/// The plugin that copies jars, pinned: without a version Maven would ask for the newest.
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

/// Kafka's jars and the JVM to run them on.
#[derive(Clone, Debug)]
pub(crate) struct Kafka {
    jars: PathBuf,
}

/// Finds or fetches Kafka; `None` after having said what is skipped.
#[track_caller]
pub(crate) fn find(test: &str) -> Option<Kafka> {
    // Tests run side by side; one of them fetches, the others find.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let found = {
        let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        fetched()
    };
    found.map_err(|why| skip(test, "Apache Kafka", &why)).ok()
}

fn fetched() -> Result<Kafka, String> {
    run(Command::new("java").arg("-version"))?;
    let folder = clients_folder().join("kafka");
    let (jars, stamp) = (folder.join("jars"), folder.join("pom.xml"));
    if fs::read_to_string(&stamp).is_ok_and(|fetched| fetched == POM) {
        return Ok(Kafka { jars });
    }
    fetch(&folder, &jars).map_err(|error| error.to_string())??;
    // Written last: without it the jars are fetched again.
    fs::write(&stamp, POM).map_err(|error| error.to_string())?;
    Ok(Kafka { jars })
}

fn fetch(folder: &Path, jars: &Path) -> io::Result<Result<(), String>> {
    if jars.exists() {
        fs::remove_dir_all(jars)?;
    }
    fs::create_dir_all(folder)?;
    let pom = folder.join("fetching.xml");
    fs::write(&pom, POM)?;
    let mut maven = Command::new("mvn");
    maven.args(["--batch-mode", "--no-transfer-progress", "--quiet", "--file"]).arg(&pom).arg(COPY);
    maven.arg(format!("-DoutputDirectory={}", jars.display()));
    Ok(run(&mut maven).map(drop))
}

impl Kafka {
    /// The class path of everything, for `java` and `javac`.
    pub(crate) fn class_path(&self) -> OsString {
        let log4j = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/kafka");
        let paths = [self.jars.join("*"), log4j];
        // Only a colon in the path of the target folder could be in the way.
        env::join_paths(paths).unwrap()
    }

    /// A JVM with a heap of `heap_mb` MiB, about to run `class`; arguments, input and output are the caller's.
    pub(crate) fn java(&self, class: &str, heap_mb: u32) -> Command {
        jvm(&self.class_path(), class, heap_mb)
    }

    /// As `java`, with the classes of a folder besides Kafka's.
    pub(crate) fn java_beside(&self, classes: &Path, class: &str, heap_mb: u32) -> Command {
        let kafka = self.class_path();
        let paths = iter::once(classes.to_owned()).chain(env::split_paths(&kafka));
        let paths = env::join_paths(paths).unwrap();
        jvm(&paths, class, heap_mb)
    }

    /// Runs a command-line tool to its end: whether it succeeded, and what it printed to standard output
    /// and error.
    pub(crate) fn tool(&self, class: &str, arguments: &[&str]) -> (bool, String, String) {
        let output = self.java(class, 256).args(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    }
}

fn jvm(class_path: &OsStr, class: &str, heap_mb: u32) -> Command {
    let mut java = Command::new("java");
    java.arg(format!("-Xmx{heap_mb}m")).args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
    java.arg("-cp").arg(class_path).arg(class);
    java
}
