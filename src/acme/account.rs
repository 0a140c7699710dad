//! The account at an authority: made once, kept in a file, used for everything after.

use std::time::SystemTime;

use instant_acme::{Account, AccountCredentials, Error, NewAccount};
use serde::{Deserialize, Serialize};

use crate::acme::client::Https;
use crate::acme::failure::Failure;
use crate::acme::on_disk;
use crate::acme::place::{self, Place};
use crate::config::Acme;

/// What the file holds.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// Where the authority was told to write to.
    contact: Vec<String>,
    credentials: AccountCredentials,
}

/// The account of the file, or a new one where there is none that can be used.
pub(super) async fn open(spec: &Acme, place: &Place, https: &Https) -> Result<Account, Failure> {
    let path = place.account.clone();
    let Some(text) = on_disk(move || place::read(&path)).await? else {
        return create(spec, place, https).await;
    };
    let kept: Kept = match serde_json::from_str(&text) {
        Ok(kept) => kept,
        Err(why) => return anew(spec, place, https, &why.to_string()).await,
    };
    let builder = Account::builder_with_http(Box::new(https.clone()));
    let account = match builder.from_credentials(kept.credentials).await {
        Ok(account) => account,
        Err(why @ Error::KeyRejected) => return anew(spec, place, https, &why.to_string()).await,
        Err(why) => return Err(Failure::Authority { what: "read acme.directory", why }),
    };
    if kept.contact != spec.contact {
        tell_contact(spec, place, &account, &text).await?;
    }
    Ok(account)
}

/// A new account in place of one that is of no use; its file is kept under another name.
pub(super) async fn anew(
    spec: &Acme,
    place: &Place,
    https: &Https,
    why: &str,
) -> Result<Account, Failure> {
    let path = place.account.clone();
    let aside = on_disk(move || place::set_aside(&path, SystemTime::now())).await?;
    tracing::warn!(
        file = %place.account.display(),
        kept_as = %aside.display(),
        why,
        "the acme account cannot be used: opening a new one"
    );
    create(spec, place, https).await
}

async fn create(spec: &Acme, place: &Place, https: &Https) -> Result<Account, Failure> {
    let contact: Vec<_> = spec.contact.iter().map(String::as_str).collect();
    // Whoever writes an `acme` table agrees to the terms of the authority that it names.
    let wanted = NewAccount {
        contact: &contact,
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let builder = Account::builder_with_http(Box::new(https.clone()));
    let created = builder.create(&wanted, spec.directory.clone(), None).await;
    let failed = |why| Failure::Authority { what: "open an account", why };
    let (account, credentials) = created.map_err(failed)?;
    let kept = Kept { contact: spec.contact.clone(), credentials };
    let text = serde_json::to_vec_pretty(&kept).map_err(|why| failed(Error::Json(why)))?;
    let path = place.account.clone();
    on_disk(move || place::write(&path, &text)).await?;
    tracing::info!(directory = spec.directory, account = account.id(), "acme account opened");
    Ok(account)
}

/// Tells the authority the contact that the file of the balancer has now.
async fn tell_contact(
    spec: &Acme,
    place: &Place,
    account: &Account,
    text: &str,
) -> Result<(), Failure> {
    let contact: Vec<_> = spec.contact.iter().map(String::as_str).collect();
    let failed = |why| Failure::Authority { what: "change the contact", why };
    account.update_contacts(&contact).await.map_err(failed)?;
    let kept: Kept = serde_json::from_str(text).map_err(|why| failed(Error::Json(why)))?;
    let kept = Kept { contact: spec.contact.clone(), ..kept };
    let text = serde_json::to_vec_pretty(&kept).map_err(|why| failed(Error::Json(why)))?;
    let path = place.account.clone();
    on_disk(move || place::write(&path, &text)).await
}
