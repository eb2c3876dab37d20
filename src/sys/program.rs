//! The program's own file as it is mapped.

use std::{fs, io};

use rustix::mm::{Advice, madvise};

/// A part of the program's file that is mapped and that nobody may write to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) start: usize,
    pub(super) len: usize,
}

/// Gives back what is resident of the program's own code and constants, and says how much is mapped of them: what is used again
/// comes back from the page cache, by a minor fault. Much of it serves the start alone, and newer kernels (Linux 6.18) map whole
/// folios around each page that was touched.
///
/// Does nothing and says 0 while a debugger looks on: its breakpoints are changed pages, which would be lost.
pub fn release_program_pages() -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    if is_traced(&status) {
        return Ok(0);
    }
    let mut released = 0;
    for part in program_parts()? {
        advise(part, Advice::LinuxDontNeed)?;
        released += part.len as u64;
    }
    Ok(released)
}

pub(super) fn program_parts() -> io::Result<Vec<Part>> {
    // Any function of ours is within the code.
    parts(&fs::read_to_string("/proc/self/maps")?, program_parts as *const () as usize)
}

#[expect(unsafe_code, reason = "the call takes an address")]
pub(super) fn advise(part: Part, advice: Advice) -> io::Result<()> {
    let start = std::ptr::with_exposed_provenance_mut(part.start);
    // SAFETY: the kernel has just named the range as a private mapping of this program's file, which stays mapped until the process
    // ends. Nothing has changed its pages: they may not be written to, relocations are elsewhere, and no debugger is there. So
    // what is dropped and read again is the same, for the system lets nobody write to the file of a program that runs.
    let done = unsafe { madvise(start, part.len, advice) };
    Ok(done?)
}

fn is_traced(status: &str) -> bool {
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
    tracer.is_none_or(|tracer| tracer.trim() != "0")
}

/// Of a process's maps (`proc(5)`): the code that this address is in, and the constants before it in the same file. What the
/// linker relocates is mapped from a later place of the file, and is private to the process although nobody may write to it.
fn parts(maps: &str, code: usize) -> io::Result<Vec<Part>> {
    let lines: Vec<_> = maps.lines().filter_map(Line::parse).collect();
    let holds = |line: &&Line<'_>| (line.start..line.end).contains(&code) && line.inode != "0";
    let own = lines.iter().find(holds).ok_or(io::ErrorKind::NotFound)?;
    let is_constant = |line: &Line<'_>| match line.permissions {
        "r-xp" => true,
        "r--p" => line.offset == 0,
        _ => false,
    };
    let ours = lines.iter().filter(|line| (line.device, line.inode) == (own.device, own.inode));
    let constant = ours.filter(|line| is_constant(line));
    Ok(constant.map(|line| Part { start: line.start, len: line.end - line.start }).collect())
}

struct Line<'a> {
    start: usize,
    end: usize,
    permissions: &'a str,
    offset: u64,
    device: &'a str,
    inode: &'a str,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let address = |hex| usize::from_str_radix(hex, 16).ok();
        let (start, end) = (address(start)?, address(end)?);
        let permissions = fields.next()?;
        let offset = u64::from_str_radix(fields.next()?, 16).ok()?;
        let (device, inode) = (fields.next()?, fields.next()?);
        (start < end).then_some(Self { start, end, permissions, offset, device, inode })
    }
}

#[cfg(test)]
mod tests {
    use super::{Advice, Part, advise, fs, io, is_traced, parts, program_parts, release_program_pages};

    const MAPS: &str = "\
        1000-2000 r--p 00000000 fe:00 7 /opt/polylogue\n\
        3000-6000 r-xp 00002000 fe:00 7 /opt/polylogue\n\
        7000-8000 r--p 00005000 fe:00 7 /opt/polylogue\n\
        8000-9000 rw-p 00006000 fe:00 7 /opt/polylogue\n\
        a000-b000 rw-p 00000000 00:00 0 [heap]\n\
        c000-d000 r-xp 00000000 fe:00 9 /lib/libc.so.6\n\
        nonsense\n\
        f000-e000 r-xp 00000000 fe:00 7 /opt/polylogue\n";

    #[test]
    fn of_the_program_alone_and_only_what_nothing_has_changed() {
        let found = parts(MAPS, 0x4000).unwrap();
        assert_eq!(found, [Part { start: 0x1000, len: 0x1000 }, Part { start: 0x3000, len: 0x3000 }]);
        assert_eq!(parts(MAPS, 0x2800).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(parts(MAPS, 0xa800).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_debugger_is_left_alone() {
        assert!(!is_traced("Name:\tpolylogue\nTracerPid:\t0\n"));
        assert!(is_traced("Name:\tpolylogue\nTracerPid:\t17\n"));
        assert!(is_traced("Name:\tpolylogue\n"));
    }

    #[test]
    fn what_is_resident_of_the_program_becomes_less_and_the_program_goes_on() {
        let code = *program_parts().unwrap().last().unwrap();
        advise(code, Advice::LinuxPopulateRead).unwrap();
        let before = resident(code);
        assert!(before > code.len / 2, "{before} of {}", code.len);
        let released = release_program_pages().unwrap();
        assert!(released > code.len as u64);
        assert!(resident(code) < before);
        let (some, other) = (program_parts().unwrap(), program_parts().unwrap());
        assert_eq!(some, other);
    }

    /// Bytes, by `/proc/self/smaps`.
    fn resident(part: Part) -> usize {
        let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
        let begins = format!("{:x}-{:x} ", part.start, part.start + part.len);
        let its = smaps.lines().skip_while(|line| !line.starts_with(&begins));
        let resident = its.into_iter().find_map(|line| line.strip_prefix("Rss:")).unwrap();
        resident.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
    }
}
