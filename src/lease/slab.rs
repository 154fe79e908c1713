//! Values by place, in chunks: growing copies nothing, so the ten-millionth insert costs what the
//! first did, and no more than one chunk is ever allocated ahead.

/// Values in a chunk.
const CHUNK: usize = 4096;

/// Values by place.
#[derive(Debug)]
pub struct Slab<T> {
    chunks: Vec<Vec<Option<T>>>,
    vacant: Vec<u32>,
    len: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            vacant: Vec::new(),
            len: 0,
        }
    }
}

impl<T> Slab<T> {
    /// Values in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The value at a place.
    pub fn get(&self, place: u32) -> Option<&T> {
        let (chunk, at) = split(place);
        self.chunks.get(chunk)?.get(at)?.as_ref()
    }

    /// The value at a place.
    pub fn get_mut(&mut self, place: u32) -> Option<&mut T> {
        let (chunk, at) = split(place);
        self.chunks.get_mut(chunk)?.get_mut(at)?.as_mut()
    }

    /// Puts a value at a vacant place: the latest vacated, else one at the end. `None` when places
    /// have run out.
    pub fn insert(&mut self, value: T) -> Option<u32> {
        if let Some(place) = self.vacant.pop() {
            *self.cell(place)? = Some(value);
            self.len += 1;
            return Some(place);
        }
        self.push(value)
    }

    /// Puts a value at the end.
    fn push(&mut self, value: T) -> Option<u32> {
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let before = (self.chunks.len() - 1) * CHUNK;
        let chunk = self.chunks.last_mut()?;
        let place = u32::try_from(before + chunk.len())
            .ok()
            .filter(|place| *place != u32::MAX)?;
        chunk.push(Some(value));
        self.len += 1;
        Some(place)
    }

    /// Takes the value at a place.
    pub fn remove(&mut self, place: u32) -> Option<T> {
        let value = self.cell(place)?.take()?;
        self.vacant.push(place);
        self.len -= 1;
        Some(value)
    }

    /// Puts a removed value back where it was.
    pub fn restore(&mut self, place: u32, value: T) {
        // What was removed last is restored first, so this is the last one.
        if self.vacant.last() == Some(&place) {
            self.vacant.pop();
        } else {
            self.vacant.retain(|vacant| *vacant != place);
        }
        if let Some(cell) = self.cell(place) {
            *cell = Some(value);
            self.len += 1;
        }
    }

    /// Removes the value at the end for good, as if it had not been inserted.
    pub fn pop(&mut self) -> Option<T> {
        let chunk = self.chunks.last_mut()?;
        let value = chunk.pop()?;
        if chunk.is_empty() {
            self.chunks.pop();
        }
        self.len -= 1;
        value
    }

    /// Bytes allocated.
    pub fn memory(&self) -> usize {
        self.chunks.len() * (CHUNK * size_of::<Option<T>>() + size_of::<Vec<Option<T>>>())
            + self.vacant.capacity() * size_of::<u32>()
    }

    fn cell(&mut self, place: u32) -> Option<&mut Option<T>> {
        let (chunk, at) = split(place);
        self.chunks.get_mut(chunk)?.get_mut(at)
    }
}

fn split(place: u32) -> (usize, usize) {
    let place = usize::try_from(place).unwrap_or(usize::MAX);
    (place / CHUNK, place % CHUNK)
}
