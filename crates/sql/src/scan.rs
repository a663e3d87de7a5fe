//! All that a table holds, page by page.

use cloakroom_core::Error;
use cloakroom_core::store::{
    BoxFuture, SCAN_PAGE_BYTES_MAX, SCAN_PAGE_ITEMS_MAX, Scan, ScanCursor, ScanPage, Scanned,
};

use crate::driver::Driver;
use crate::statement::Arg;
use crate::store::TableStore;

impl<DB: Driver> Scan for TableStore<DB> {
    fn scan<'a>(
        &'a self,
        from: Option<&'a ScanCursor>,
        max: usize,
    ) -> BoxFuture<'a, Result<ScanPage, Error>> {
        Box::pin(self.page(from, max))
    }
}

impl<DB: Driver> TableStore<DB> {
    async fn page(&self, from: Option<&ScanCursor>, max: usize) -> Result<ScanPage, Error> {
        let from = from.map(ScanCursor::digest).transpose()?;
        // No bytes are before every digest.
        let from = from.as_ref().map_or(Arg::Bytes(Some(&[])), Arg::from);
        let max = max.clamp(1, SCAN_PAGE_ITEMS_MAX);
        // The sizes first, without the data: a page holds fewer of large records, so that
        // reading it does not take too long.
        let sizes = [from, count_arg(max)];
        let sizes = self.pool.read(&self.statements.scan_sizes, &sizes).await?;
        let (mut last, mut count, mut bytes) = (None, 0, 0);
        for row in &sizes {
            last = Some(row.digest(0)?);
            count += 1;
            bytes += usize::try_from(row.int(1)?).unwrap_or(0);
            if bytes >= SCAN_PAGE_BYTES_MAX {
                break;
            }
        }
        let Some(last) = last else {
            return Ok(ScanPage::default());
        };
        let is_end = count == sizes.len() && count < max;
        let args = [from, (&last).into(), count_arg(count)];
        let mut items = Vec::with_capacity(count);
        for row in self.pool.read(&self.statements.scan, &args).await? {
            items.push(Scanned::new(row.digest(0)?, row.stored_in_list(true)?));
        }
        // Rows that have come in between may have pushed others out of the page.
        let reached = match items.last() {
            Some(item) if items.len() == count => item.digest,
            _ => last,
        };
        let next = (!is_end || reached != last).then(|| ScanCursor::after(&reached));
        Ok(ScanPage::new(items, next))
    }
}

pub(crate) fn count_arg(rows: usize) -> Arg<'static> {
    let rows = i64::try_from(rows).expect("a page, which is short");
    rows.into()
}
