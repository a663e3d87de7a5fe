//! In which order positions were used.

/// Positions in a ring, from the one unused longest to the one used last.
///
/// It is kept apart from what stands at the positions: a use changes three of its links,
/// and eight of them share a line of the processor's cache.
pub(crate) struct Order {
    /// The link of a position stands at the next higher index; the first is where the ring
    /// begins and ends.
    links: Vec<Neighbours>,
}

#[derive(Clone, Copy)]
struct Neighbours {
    before: u32,
    after: u32,
}

const ENDS: u32 = 0;

/// How many bytes a position takes.
pub(crate) const BYTES: usize = size_of::<Neighbours>();

impl Order {
    pub(crate) fn new() -> Self {
        Self {
            links: vec![Neighbours {
                before: ENDS,
                after: ENDS,
            }],
        }
    }

    /// One more than the highest position that was ever in.
    pub(crate) fn positions(&self) -> usize {
        self.links.len() - 1
    }

    /// The position unused longest.
    pub(crate) fn first(&self) -> Option<u32> {
        self.link(ENDS).after.checked_sub(1)
    }

    /// Puts in a position that is not in, as the one used last.
    pub(crate) fn insert(&mut self, position: u32) {
        let index = position + 1;
        if self.links.len() <= index as usize {
            let unlinked = self.link(ENDS);
            self.links.resize(index as usize + 1, unlinked);
        }
        self.append(index);
    }

    /// Takes a position out.
    pub(crate) fn remove(&mut self, position: u32) {
        let Neighbours { before, after } = self.link(position + 1);
        self.links[before as usize].after = after;
        self.links[after as usize].before = before;
    }

    /// Makes a position that is in the one used last.
    pub(crate) fn renew(&mut self, position: u32) {
        self.remove(position);
        self.append(position + 1);
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
        let mut out = Vec::new();
        while let Some(first) = order.first() {
            out.push(first);
            order.remove(first);
        }
        assert_eq!(out, [1, 4, 0, 2, 3]);
    }
}
