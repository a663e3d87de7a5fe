//! In which order positions were used.

/// Positions in a ring, from the one unused longest to the one used last.
///
/// It is kept apart from what stands at the positions: a use changes three of its links,
/// and eight of them share a line of the processor's cache.
pub(crate) struct Order {
    /// The link of a position stands at the next higher index; the first is where the ring
    /// begins and ends.
    links: Vec<Neighbours>,
    /// Positions that were used and not yet moved to the end, in the order of their use.
    /// To fetch three links from memory takes longer than the rest of a load, and the
    /// processor fetches those of several moves at once.
    unmoved: Vec<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Neighbours {
    before: u32,
    after: u32,
}

const ENDS: u32 = 0;

/// Stands at a position that is not in.
const OUT: Neighbours = Neighbours {
    before: u32::MAX,
    after: u32::MAX,
};

/// How many bytes a position takes.
pub(crate) const BYTES: usize = size_of::<Neighbours>();

/// How many uses wait at most to be moved: some 2 µs for the use that finds them waiting.
const UNMOVED_MAX: usize = 128;

impl Order {
    pub(crate) fn new() -> Self {
        Self {
            links: vec![Neighbours {
                before: ENDS,
                after: ENDS,
            }],
            unmoved: Vec::new(),
        }
    }

    /// One more than the highest position that was ever in.
    pub(crate) fn positions(&self) -> usize {
        self.links.len() - 1
    }

    /// The position unused longest.
    pub(crate) fn first(&mut self) -> Option<u32> {
        self.move_used();
        self.link(ENDS).after.checked_sub(1)
    }

    /// Puts in a position that is not in, as the one used last.
    pub(crate) fn insert(&mut self, position: u32) {
        self.move_used();
        let index = position + 1;
        if self.links.len() <= index as usize {
            self.links.resize(index as usize + 1, OUT);
        }
        self.append(index);
    }

    /// Makes a position that is in the one unused longest.
    pub(crate) fn make_first(&mut self, position: u32) {
        self.move_used();
        let index = position + 1;
        self.unlink(index);
        let after = self.link(ENDS).after;
        self.links[index as usize] = Neighbours {
            before: ENDS,
            after,
        };
        self.links[after as usize].before = index;
        self.links[ENDS as usize].after = index;
    }

    /// Takes a position out.
    pub(crate) fn remove(&mut self, position: u32) {
        self.unlink(position + 1);
        self.links[position as usize + 1] = OUT;
    }

    /// Makes a position that is in the one used last.
    pub(crate) fn renew(&mut self, position: u32) {
        if self.unmoved.len() == UNMOVED_MAX {
            self.move_used();
        }
        self.unmoved.push(position);
    }

    fn move_used(&mut self) {
        let mut unmoved = std::mem::take(&mut self.unmoved);
        for position in unmoved.drain(..) {
            // It may have been taken out since.
            if self.link(position + 1) != OUT {
                self.unlink(position + 1);
                self.append(position + 1);
            }
        }
        self.unmoved = unmoved;
    }

    fn unlink(&mut self, index: u32) {
        let Neighbours { before, after } = self.link(index);
        self.links[before as usize].after = after;
        self.links[after as usize].before = before;
    }

    fn append(&mut self, index: u32) {
        let before = self.link(ENDS).before;
        self.links[index as usize] = Neighbours {
            before,
            after: ENDS,
        };
        self.links[before as usize].after = index;
        self.links[ENDS as usize].before = index;
    }

    fn link(&self, index: u32) -> Neighbours {
        self.links[index as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_come_out_in_the_order_of_their_last_use() {
        let mut order = Order::new();
        for position in [0, 1, 2, 3, 4] {
            order.insert(position);
        }
        order.remove(2);
        order.renew(0);
        order.renew(0);
        order.insert(2);
        order.renew(3);
        // What is taken out is no longer in, though it was used just before.
        order.renew(4);
        order.remove(4);
        let mut out = Vec::new();
        while let Some(first) = order.first() {
            out.push(first);
            order.remove(first);
        }
        assert_eq!(out, [1, 0, 2, 3]);
        for position in [0, 1, 2] {
            order.insert(position);
        }
        for first in [1, 1, 2] {
            order.renew(first);
            order.make_first(first);
            assert_eq!(order.first(), Some(first));
        }
        order.renew(2);
        assert_eq!(order.first(), Some(1));
        for position in [0, 1, 2] {
            order.remove(position);
        }
        order.insert(4);
        assert_eq!(order.first(), Some(4));
    }

    #[test]
    fn more_uses_than_wait_keep_their_order() {
        let mut order = Order::new();
        for position in [0, 1, 2] {
            order.insert(position);
        }
        for use_number in 0..10 * UNMOVED_MAX as u32 {
            order.renew(use_number % 2);
        }
        for expected in [2, 0, 1] {
            assert_eq!(order.first(), Some(expected));
            order.remove(expected);
        }
    }
}
