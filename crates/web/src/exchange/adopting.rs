//! Sessions of another library, of which a request brings a cookie.

use std::sync::Arc;

use cloakroom_core::session::{Ended, Session};
use cloakroom_core::store::EndReason;
use cloakroom_core::{Error, Timestamp};

use super::device::Judgement;
use super::{Client, CookieAction, Inner, Opened};
use crate::Cost;
use crate::adopt::{Adopted, FormerCookie, adopt};
use crate::carry_out::carry_out;
use crate::decide::Arrival;
use crate::write::Writer;

impl Inner {
    /// Tries the former cookies in their order until one opens a session.
    pub(super) async fn open_former(
        self: &Arc<Self>,
        client: &mut Client,
        (arrival, ended): (&mut Arrival, &mut Option<Ended>),
        passed: &mut Vec<cloakroom_core::engine::Token>,
        now: Timestamp,
    ) -> Result<Option<Session>, Error> {
        let engine = &*self.engine;
        let mut cookies = std::mem::take(&mut client.adoptable).into_iter();
        while let Some(cookie) = cookies.next() {
            let Some(adopted) = self.adopted(&cookie, now, &mut client.cost).await? else {
                continue;
            };
            match adopted {
                Adopted::Session(token, record) => {
                    match self.judge_device(&token, &record, client, now) {
                        Judgement::Opens => {}
                        // The cookie stays: the browser may prove the device next.
                        Judgement::Refused => {
                            *ended = Some(Ended::new(EndReason::BindingFailed));
                            *arrival = Arrival::Unproven;
                            passed.push(token);
                            continue;
                        }
                        Judgement::Ends => {
                            let subject = record.subject.as_ref();
                            self.end_unproven(&token, subject, now).await?;
                            *ended = Some(Ended::new(EndReason::BindingFailed));
                            *arrival = Arrival::Missing;
                            client.adopted.push(cookie.source);
                            continue;
                        }
                    }
                    let age = engine.cookie_age(&record, now);
                    let adopted_for = now.saturating_since(record.created_at);
                    let is_proven = client.device.is_proven();
                    let session = match self.session(Some(record), now, None, is_proven) {
                        Ok(session) => session,
                        Err(error) => {
                            engine.unreadable(&token, &error);
                            continue;
                        }
                    };
                    engine.opened(&token, &session);
                    // Answers to scripts may arrive after a login in a parallel request.
                    // Later on they hand the cookie out too: some sites load one document.
                    client.hands_out_always = adopted_for >= engine.rotation_mark;
                    client.successor = CookieAction::Set {
                        token: token.clone(),
                        age,
                    };
                    client.others = std::mem::take(passed);
                    client.token = Some(token);
                    client.adopted.push(cookie.source);
                    client.adoptable = cookies.collect();
                    return Ok(Some(session));
                }
                Adopted::Moved(token) => {
                    *arrival = Arrival::Rotated;
                    client.adopted.push(cookie.source);
                    passed.push(token);
                }
                Adopted::Parted => {
                    client.adopted.push(cookie.source);
                    // How a session under a token of ours has ended says more.
                    if ended
                        .as_ref()
                        .is_none_or(|ended| ended.because == EndReason::Unknown)
                    {
                        *ended = Some(Ended::new(EndReason::Adopted));
                    }
                }
                Adopted::Ended(why) => {
                    client.adopted.push(cookie.source);
                    if *arrival == Arrival::Anonymous {
                        *arrival = Arrival::Missing;
                    }
                    if ended.is_none() || why.because != EndReason::Unknown {
                        *ended = Some(why);
                    }
                    self.not_adopted(&cookie, now, &"it has ended or expired");
                }
                Adopted::Unreadable(error) => self.not_adopted(&cookie, now, &error),
            }
        }
        Ok(None)
    }

    /// Ends the former sessions whose cookies came beside the token that was logged out:
    /// they would open a session with the next request.
    pub(super) async fn end_formers(
        &self,
        opened: &Opened,
        cookies: Vec<FormerCookie>,
        writer: &mut Writer<'_>,
    ) -> Result<(), Error> {
        let now = self.engine.clock.now();
        let mut ended = Ok(());
        for cookie in cookies {
            let mut cost = Cost::default();
            let result = match self.adopted(&cookie, now, &mut cost).await {
                Ok(Some(Adopted::Session(token, _) | Adopted::Moved(token))) => {
                    writer.log_out_all(&[token]).await
                }
                Ok(_) => Ok(()),
                Err(error) => Err(error),
            };
            writer.cost.add(cost);
            if result.is_ok() {
                opened.client().adopted.push(cookie.source);
            }
            ended = ended.and(result);
        }
        ended
    }

    /// What a former cookie leads to; `None` where the library would not take it either.
    /// Adopting goes on when the client hangs up.
    async fn adopted(
        &self,
        cookie: &FormerCookie,
        now: Timestamp,
        cost: &mut Cost,
    ) -> Result<Option<Adopted>, Error> {
        let Some(source) = self.engine.sources.get(cookie.source).cloned() else {
            return Ok(None);
        };
        let Some(id) = source.read_cookie(cookie.value.expose()) else {
            let why = "its cookie is malformed, or signed with a secret that is not given here";
            self.not_adopted(cookie, now, &why);
            return Ok(None);
        };
        let engine = self.engine.clone();
        let (adopted, spent) = carry_out(async move {
            let mut spent = Cost::default();
            let adopted = adopt(&engine, &*source, id, now, &mut spent).await?;
            Ok((adopted, spent))
        })
        .await?;
        cost.add(spent);
        Ok(Some(adopted))
    }

    fn not_adopted(&self, cookie: &FormerCookie, now: Timestamp, reason: &dyn std::fmt::Display) {
        let source = self.engine.sources.get(cookie.source);
        let source = source.map(|source| source.name());
        self.engine.not_adopted(source, reason, now);
    }
}
