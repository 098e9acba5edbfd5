//! `DELETE /api/inventory/reserve/{id}`: gives a reserve back; the id is the `ownerId` that the caller gave it. 204 once the
//! units are free, 202 while that is on its way. Again and again is the same as once.

use crate::{
    reservation::OwnerId,
    reserve::{self, release_of},
    routes::Inventory,
};
use axum::{
    extract::{Path, State},
    http::StatusCode,
};
use ingress::{
    api::{About, Answer},
    auth::Caller,
    problem::{Kind, Problem},
};

pub(crate) fn about() -> About {
    About::of("releaseStock", "Give a reserve back")
        .says("Again and again is the same as once.")
        .path("id", "The `ownerId` that the reserve was asked for with.", reserve::owner_id())
        .answers(StatusCode::NO_CONTENT, Answer::empty("The units are free."))
        .answers(StatusCode::ACCEPTED, Answer::empty("On its way."))
        .refuses(&[Kind::NotFound])
}

pub(crate) async fn release(
    State(inventory): State<Inventory>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let order = OwnerId::of_path(&id)?.reserve_of(&inventory.config.namespace, &caller);
    if inventory.desk.look(order).await.is_some_and(|hold| hold.state.is_over()) {
        return Ok(StatusCode::NO_CONTENT);
    }
    let sent = inventory.desk.send(release_of(order, inventory.now())?).await;
    sent.map_err(|error| {
        tracing::warn!(%order, %error, "a reserve could not be given back");
        Problem::unavailable("the reserve could not be given back; try again, or its deadline does it")
    })?;
    let is_over = inventory.desk.is_over(order).await;
    Ok(if is_over { StatusCode::NO_CONTENT } else { StatusCode::ACCEPTED })
}
