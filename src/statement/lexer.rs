//! CQL text as a stream of lexemes: comments dropped, brackets, markers and calls counted.

use logos::Logos;

use super::calls::Calls;

/// What a lexeme is. Words that CQL reserves and we look for have their own kind, all others are
/// [`Token::Word`]: a column may be called `values` or `json`, never `where`.
#[derive(Clone, Copy, Debug, Eq, Logos, PartialEq)]
#[logos(skip r"[ \t\r\n]+")]
#[logos(skip(r"(--|//)[^\r\n]*", allow_greedy = true))]
#[logos(skip r"/\*([^*]|\*+[^*/])*\*+/")]
pub(super) enum Token {
    #[regex("(?i-u:and)", priority = 50)]
    And,
    #[regex("(?i-u:apply)", priority = 50)]
    Apply,
    #[regex("(?i-u:begin)", priority = 50)]
    Begin,
    #[regex("(?i-u:delete)", priority = 50)]
    Delete,
    #[regex("(?i-u:from)", priority = 50)]
    From,
    #[regex("(?i-u:if)", priority = 50)]
    If,
    #[regex("(?i-u:in)", priority = 50)]
    In,
    #[regex("(?i-u:insert)", priority = 50)]
    Insert,
    #[regex("(?i-u:into)", priority = 50)]
    Into,
    #[regex("(?i-u:select)", priority = 50)]
    Select,
    #[regex("(?i-u:set)", priority = 50)]
    Set,
    #[regex("(?i-u:update)", priority = 50)]
    Update,
    #[regex("(?i-u:use)", priority = 50)]
    Use,
    #[regex("(?i-u:using)", priority = 50)]
    Using,
    #[regex("(?i-u:where)", priority = 50)]
    Where,

    #[regex(r"[A-Za-z][A-Za-z0-9_]*")]
    Word,
    #[regex(r#""([^"]|"")*""#)]
    Quoted,
    #[regex(r"'([^']|'')*'")]
    #[regex(r"\$\$", dollars)]
    Text,
    // Exact, since `k=5IF EXISTS` is a number and a keyword.
    #[regex(r"[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?")]
    #[regex(r"0[xX][0-9A-Fa-f]*")]
    #[regex(r"([0-9]+([yYwWdDhHmMsS]|[mM][oO]|[mMuUnNµ][sS]))+")]
    #[regex(r"[pP][0-9]{4}-[0-9]{2}-[0-9]{2}[tT][0-9]{2}:[0-9]{2}:[0-9]{2}")]
    Number,
    #[regex(
        r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}",
        priority = 100
    )]
    Uuid,
    /// `?`
    #[token("?")]
    Marker,
    /// `:name`, put together by the [`Cursor`]; its text is the name.
    Named,

    #[token(";")]
    Semicolon,
    #[token(",")]
    Comma,
    #[token(".")]
    Dot,
    #[token(":")]
    Colon,
    #[token("=")]
    Equals,
    #[token("+=")]
    #[token("-=")]
    Add,
    #[token("+")]
    Plus,
    #[token("-")]
    Minus,
    #[token("*")]
    Star,
    #[token("(")]
    Open,
    #[token("[")]
    OpenList,
    #[token("{")]
    OpenBrace,
    #[token(")")]
    Close,
    #[token("]")]
    CloseList,
    #[token("}")]
    CloseBrace,
    #[regex(r"[<>/%@]|<=|>=|!=|\.\.")]
    Sign,

    /// The end of the text.
    End,
    /// Something that is not CQL; nothing is read after it. So is a comment that never ends: each
    /// try to find its end costs a walk to the end of the text.
    #[token("/*")]
    Broken,
}

/// `$$ … $$`: nothing is special inside but the closing pair.
fn dollars(lexer: &mut logos::Lexer<'_, Token>) -> bool {
    let Some(length) = lexer.remainder().find("$$") else {
        return false;
    };
    lexer.bump(length + 2);
    true
}

/// Words that stand for a value.
const CONSTANTS: [&str; 6] = ["false", "infinity", "nan", "null", "true", "unset"];

/// One lexeme and its text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lexeme<'a> {
    pub(super) kind: Token,
    pub(super) text: &'a str,
}

impl<'a> Lexeme<'a> {
    const END: Self = Self {
        kind: Token::End,
        text: "",
    };

    /// Whether it is this word (given in lower case), unquoted, in any case.
    pub(super) fn is(self, word: &str) -> bool {
        self.kind == Token::Word && self.text.eq_ignore_ascii_case(word)
    }

    /// It as the name of something, if it can be one.
    pub(super) const fn ident(self) -> Option<Ident<'a>> {
        match self.kind {
            Token::Word => Some(Ident {
                text: self.text,
                quoted: false,
            }),
            Token::Quoted => Some(Ident {
                text: self.text,
                quoted: true,
            }),
            _ => None,
        }
    }

    /// The name in a named marker.
    pub(super) fn marker_name(self) -> Box<str> {
        Ident {
            text: self.text,
            quoted: self.text.starts_with('"'),
        }
        .fold()
    }

    /// The whole number that it is, negated if a minus stood before it.
    pub(super) fn integer(self, minus: bool) -> Option<i64> {
        let number: u64 = self.text.parse().ok()?;
        if minus {
            0_i64.checked_sub_unsigned(number)
        } else {
            number.try_into().ok()
        }
    }

    /// Whether it is a value by itself that no list can be.
    pub(super) fn is_constant(self) -> bool {
        match self.kind {
            Token::Number | Token::Text | Token::Uuid => true,
            Token::Word => CONSTANTS.iter().any(|word| self.is(word)),
            _ => false,
        }
    }

    /// Whether a value may end with it: inside braces, a colon after it separates key and value.
    const fn ends_value(self) -> bool {
        matches!(
            self.kind,
            Token::Word
                | Token::Quoted
                | Token::Text
                | Token::Number
                | Token::Uuid
                | Token::Marker
                | Token::Named
                | Token::Close
                | Token::CloseList
                | Token::CloseBrace
        )
    }
}

/// A name as it stands in the text. Two are equal if the server stores them the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ident<'a> {
    text: &'a str,
    quoted: bool,
}

impl<'a> Ident<'a> {
    /// The name as the server stores it: unquoted ones in lower case.
    pub(super) fn fold(self) -> Box<str> {
        if self.quoted {
            return self.inner().replace("\"\"", "\"").into();
        }
        let mut name: Box<str> = self.text.into();
        name.make_ascii_lowercase();
        name
    }

    /// Whether the server would store it as this name (which is in lower case).
    pub(super) fn is(self, name: &str) -> bool {
        if self.quoted {
            self.inner() == name
        } else {
            self.text.eq_ignore_ascii_case(name)
        }
    }

    /// Whether it is unquoted and stored as this.
    fn is_stored_as(self, name: &str) -> bool {
        name.bytes()
            .eq(self.text.bytes().map(|byte| byte.to_ascii_lowercase()))
    }

    fn inner(self) -> &'a str {
        let inner = self
            .text
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'));
        inner.unwrap_or_default()
    }
}

impl PartialEq for Ident<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self.quoted, other.quoted) {
            (true, true) => self.text == other.text,
            (false, false) => self.text.eq_ignore_ascii_case(other.text),
            (true, false) => other.is_stored_as(self.inner()),
            (false, true) => self.is_stored_as(other.inner()),
        }
    }
}

/// A possibly qualified name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Name<'a> {
    pub(super) keyspace: Option<Ident<'a>>,
    pub(super) name: Ident<'a>,
}

/// Reads lexemes one by one with one of lookahead, and keeps the counts that every statement needs.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    lexer: logos::Lexer<'a, Token>,
    ahead: Lexeme<'a>,
    before: Lexeme<'a>,
    /// The two before `before`.
    earlier: (Lexeme<'a>, Lexeme<'a>),
    depth: usize,
    braces: usize,
    markers: usize,
    calls: Calls,
}

impl<'a> Cursor<'a> {
    /// Before the first lexeme of the text.
    pub(super) fn new(text: &'a str) -> Self {
        let lexer = Token::lexer(text);
        let (ahead, before) = (Lexeme::END, Lexeme::END);
        let mut cursor = Self {
            lexer,
            ahead,
            before,
            earlier: (before, before),
            depth: 0,
            braces: 0,
            markers: 0,
            calls: Calls::default(),
        };
        cursor.ahead = cursor.read();
        cursor
    }

    /// The next lexeme, not taken.
    pub(super) const fn peek(&self) -> Lexeme<'a> {
        self.ahead
    }

    /// The kind of the next lexeme.
    pub(super) const fn kind(&self) -> Token {
        self.ahead.kind
    }

    /// How many brackets are open.
    pub(super) const fn depth(&self) -> usize {
        self.depth
    }

    /// The bind markers taken so far; also the index of the next one.
    pub(super) const fn markers(&self) -> usize {
        self.markers
    }

    /// The kinds of function called so far.
    pub(super) const fn calls(&self) -> Calls {
        self.calls
    }

    /// Takes the next lexeme. Past the end it is [`Token::End`] or [`Token::Broken`] for ever.
    pub(super) fn take(&mut self) -> Lexeme<'a> {
        let taken = self.ahead;
        self.account(taken);
        self.advance(taken)
    }

    /// Takes the next lexeme if it is of this kind.
    pub(super) fn take_if(&mut self, kind: Token) -> Option<Lexeme<'a>> {
        (self.ahead.kind == kind).then(|| self.take())
    }

    /// Takes the next lexeme if it is this word (given in lower case).
    pub(super) fn word(&mut self, word: &str) -> bool {
        let found = self.ahead.is(word);
        if found {
            self.take();
        }
        found
    }

    /// Takes `(` after a name that is no function.
    pub(super) fn open(&mut self) -> Option<()> {
        let taken = self.ahead;
        if taken.kind != Token::Open {
            return None;
        }
        self.depth += 1;
        self.advance(taken);
        Some(())
    }

    /// Takes `name`.
    pub(super) fn ident(&mut self) -> Option<Ident<'a>> {
        let ident = self.ahead.ident()?;
        self.take();
        Some(ident)
    }

    /// Takes `name` or `keyspace.name`.
    pub(super) fn name(&mut self) -> Option<Name<'a>> {
        let first = self.ident()?;
        if self.take_if(Token::Dot).is_none() {
            return Some(Name {
                keyspace: None,
                name: first,
            });
        }
        let name = self.ident()?;
        Some(Name {
            keyspace: Some(first),
            name,
        })
    }

    /// Takes everything to the end of the text or the next semicolon.
    pub(super) fn skip_statement(&mut self) {
        while !matches!(
            self.ahead.kind,
            Token::End | Token::Broken | Token::Semicolon
        ) {
            self.take();
        }
    }

    fn advance(&mut self, taken: Lexeme<'a>) -> Lexeme<'a> {
        if !matches!(taken.kind, Token::End | Token::Broken) {
            self.earlier = (self.earlier.1, self.before);
            self.before = taken;
            self.ahead = self.read();
        }
        taken
    }

    fn account(&mut self, taken: Lexeme<'a>) {
        match taken.kind {
            Token::Marker | Token::Named => self.markers += 1,
            Token::OpenBrace => (self.depth, self.braces) = (self.depth + 1, self.braces + 1),
            Token::OpenList => self.depth += 1,
            Token::CloseBrace => {
                self.depth = self.depth.saturating_sub(1);
                self.braces = self.braces.saturating_sub(1);
            }
            Token::Close | Token::CloseList => self.depth = self.depth.saturating_sub(1),
            Token::Open => {
                self.depth += 1;
                if self.before.ident().is_some() {
                    let (keyspace, dot) = self.earlier;
                    let is_system = dot.kind == Token::Dot
                        && keyspace.ident().is_some_and(|it| it.is("system"));
                    self.calls.note(self.before.text, is_system);
                }
            }
            _ => {}
        }
    }

    fn read(&mut self) -> Lexeme<'a> {
        let read = self.lex();
        match read.kind {
            Token::Colon if self.braces == 0 || !self.before.ends_value() => self.named(),
            Token::Close | Token::CloseList | Token::CloseBrace if self.depth == 0 => Lexeme {
                kind: Token::Broken,
                text: read.text,
            },
            _ => read,
        }
    }

    fn named(&mut self) -> Lexeme<'a> {
        let name = self.lex();
        let word = name
            .text
            .starts_with(|c: char| c.is_ascii_alphabetic() || c == '"');
        let kind = if word { Token::Named } else { Token::Broken };
        Lexeme {
            kind,
            text: name.text,
        }
    }

    fn lex(&mut self) -> Lexeme<'a> {
        match self.lexer.next() {
            None => Lexeme::END,
            Some(Ok(kind)) => Lexeme {
                kind,
                text: self.lexer.slice(),
            },
            Some(Err(())) => Lexeme {
                kind: Token::Broken,
                text: self.lexer.slice(),
            },
        }
    }
}
