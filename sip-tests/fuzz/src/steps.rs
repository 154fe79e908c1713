//! An input read as a sequence of choices. It never runs short: at its end every choice is the first.

/// The rest of an input.
pub struct Steps<'a>(&'a [u8]);

impl<'a> Steps<'a> {
    pub fn new(input: &'a [u8]) -> Self {
        Self(input)
    }

    pub fn is_over(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    /// From 0 to `bound` - 1.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::from(self.byte()) % bound.max(1)
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Up to two bytes 0xff, which no message needs, or all the rest.
    pub fn text(&mut self) -> &'a [u8] {
        let end = self.0.windows(2).position(|pair| pair == [0xff, 0xff]);
        let (text, rest) = match end {
            Some(at) => (&self.0[..at], &self.0[at + 2..]),
            None => (self.0, &self.0[..0]),
        };
        self.0 = rest;
        text
    }

    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}
