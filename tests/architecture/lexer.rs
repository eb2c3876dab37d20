//! As much of Rust's lexis as it takes to tell code from comments and strings.

/// A piece of code and the line it begins on, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) line: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An identifier or keyword.
    Word(String),
    /// One character of punctuation; `::` is [`Kind::PathSeparator`].
    Punctuation(char),
    /// `::`
    PathSeparator,
    /// A string, a character, a number or a lifetime: nothing that a rule looks into.
    Other,
}

impl Token {
    pub(crate) fn word(&self) -> Option<&str> {
        match &self.kind {
            Kind::Word(word) => Some(word),
            Kind::Punctuation(_) | Kind::PathSeparator | Kind::Other => None,
        }
    }

    pub(crate) fn is_word(&self, word: &str) -> bool {
        self.word() == Some(word)
    }

    pub(crate) fn is(&self, punctuation: char) -> bool {
        self.kind == Kind::Punctuation(punctuation)
    }
}

/// The code of a file, without comments.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut lexer = Lexer { rest: source.chars().collect(), at: 0, line: 1 };
    let mut tokens = Vec::new();
    while let Some(token) = lexer.next_token() {
        tokens.push(token);
    }
    tokens
}

struct Lexer {
    rest: Vec<char>,
    at: usize,
    line: usize,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> Option<char> {
        self.rest.get(self.at + ahead).copied()
    }

    fn bump(&mut self) -> Option<char> {
        let next = self.peek(0)?;
        self.at += 1;
        self.line += usize::from(next == '\n');
        Some(next)
    }

    fn skip(&mut self, count: usize) {
        for _ in 0..count {
            self.bump();
        }
    }

    fn skip_while(&mut self, holds: impl Fn(char) -> bool) {
        while self.peek(0).is_some_and(&holds) {
            self.bump();
        }
    }

    fn next_token(&mut self) -> Option<Token> {
        self.skip_blanks_and_comments();
        let line = self.line;
        let kind = match self.peek(0)? {
            '"' => self.string(),
            '\'' => self.character_or_lifetime(),
            digit if digit.is_ascii_digit() => self.number(),
            letter if is_word(letter) => self.word_or_prefixed_string(),
            ':' if self.peek(1) == Some(':') => {
                self.skip(2);
                Kind::PathSeparator
            }
            other => {
                self.bump();
                Kind::Punctuation(other)
            }
        };
        Some(Token { kind, line })
    }

    fn skip_blanks_and_comments(&mut self) {
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some(blank), _) if blank.is_whitespace() => self.skip(1),
                (Some('/'), Some('/')) => self.skip_while(|c| c != '\n'),
                (Some('/'), Some('*')) => self.skip_block_comment(),
                _ => return,
            }
        }
    }

    fn skip_block_comment(&mut self) {
        let mut depth = 0;
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some('/'), Some('*')) => {
                    depth += 1;
                    self.skip(2);
                }
                (Some('*'), Some('/')) => {
                    depth -= 1;
                    self.skip(2);
                }
                (Some(_), _) => self.skip(1),
                (None, _) => return,
            }
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) -> Kind {
        self.skip(1);
        while let Some(next) = self.bump() {
            match next {
                '\\' => self.skip(1),
                '"' => break,
                _ => {}
            }
        }
        Kind::Other
    }

    fn raw_string(&mut self, hashes: usize) -> Kind {
        self.skip(hashes + 1);
        while let Some(next) = self.bump() {
            if next == '"' && (0..hashes).all(|ahead| self.peek(ahead) == Some('#')) {
                self.skip(hashes);
                break;
            }
        }
        Kind::Other
    }

    /// `'x'`, `'\n'` and `'a` begin alike: a lifetime has no second quote behind its one character.
    fn character_or_lifetime(&mut self) -> Kind {
        self.skip(1);
        if self.peek(0) == Some('\\') {
            self.skip(2);
            self.skip_while(|c| c != '\'');
            self.skip(1);
        } else if self.peek(1) == Some('\'') {
            self.skip(2);
        } else {
            self.skip_while(is_word);
        }
        Kind::Other
    }

    fn number(&mut self) -> Kind {
        self.skip_while(is_word);
        if self.peek(0) == Some('.') && self.peek(1).is_some_and(|c| c.is_ascii_digit()) {
            self.skip(1);
            self.skip_while(is_word);
        }
        Kind::Other
    }

    fn word_or_prefixed_string(&mut self) -> Kind {
        let start = self.at;
        self.skip_while(is_word);
        let word: String = self.rest[start..self.at].iter().collect();
        let hashes = self.rest[self.at..].iter().take_while(|c| **c == '#').count();
        let raw = matches!(word.as_str(), "r" | "br" | "cr");
        match self.peek(0) {
            Some('"') if matches!(word.as_str(), "b" | "c") => self.string(),
            Some('\'') if word == "b" => self.character_or_lifetime(),
            _ if raw && self.peek(hashes) == Some('"') => self.raw_string(hashes),
            Some('#') if word == "r" && self.peek(1).is_some_and(is_word) => {
                self.skip(1);
                self.word_or_prefixed_string()
            }
            _ => Kind::Word(word),
        }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
