// Shows at once that the session of this page has ended: the page that comes then says why.
const live = new EventSource('/devices/live');
const showAgain = () => {
  live.close();
  location.reload();
};
live.addEventListener('ended', showAgain);
// Closed for good: what it came back with opens no session any more.
live.addEventListener('error', () => live.readyState === EventSource.CLOSED && showAgain());
