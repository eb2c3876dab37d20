use std::collections::BTreeMap;

const PAGE: u64 = 512;

/// A table from a number to a value that is dense where the numbers are, and cheap where they are
/// not: a history that claims an offset of 2^62 costs one page, not a vector up to it.
#[derive(Debug)]
pub(super) struct Paged<T> {
    pages: BTreeMap<u64, Box<[T; PAGE as usize]>>,
}

impl<T: Copy + Default> Paged<T> {
    pub(super) fn new() -> Self {
        Self { pages: BTreeMap::new() }
    }

    /// The value at `index`; its default where nothing was put.
    pub(super) fn get(&self, index: u64) -> T {
        self.pages.get(&(index / PAGE)).map_or_else(T::default, |page| page[(index % PAGE) as usize])
    }

    /// The place at `index`, made where it is missing.
    pub(super) fn at(&mut self, index: u64) -> &mut T {
        let page = self.pages.entry(index / PAGE).or_insert_with(|| Box::new([T::default(); PAGE as usize]));
        &mut page[(index % PAGE) as usize]
    }

    /// Every place of every page that exists, in order; places that nothing was put at among them.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.pages
            .iter()
            .flat_map(|(page, places)| (0..PAGE).map(move |place| page * PAGE + place).zip(places.iter()))
    }
}

#[cfg(test)]
mod tests {
    use super::Paged;

    #[test]
    fn what_was_put_is_found_in_order_wherever_it_is() {
        let mut table = Paged::new();
        let indexes = [0, 1, 511, 512, 1 << 40, u64::MAX];
        for index in indexes {
            *table.at(index) = index ^ 7;
        }
        assert!(indexes.iter().all(|index| table.get(*index) == index ^ 7));
        assert_eq!(table.get(513), 0);
        assert_eq!(table.get(1 << 50), 0);
        let found: Vec<u64> =
            table.iter().filter(|(_, value)| **value != 0).map(|(index, _)| index).collect();
        assert_eq!(found, indexes);
    }
}
