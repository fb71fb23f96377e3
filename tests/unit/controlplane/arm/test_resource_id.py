"""Resource ids and the folding of paths (control-plane.md 0 rules 7 and 9, 4.1)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.arm.resource_id import (
    InstanceId,
    InvalidResourceId,
    fold_path,
    is_guid,
    is_resource_manager_path,
    same_id,
)

SUBSCRIPTION = "22222222-2222-4222-8222-222222222222"
ID = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg1/providers/Microsoft.ConfidentialLedger/managedCCFs/bank"
NAMES = st.text("abcXYZ019-", min_size=1, max_size=12)


@given(NAMES, NAMES)
def test_an_id_reads_back(group: str, name: str) -> None:
    written = InstanceId(SUBSCRIPTION, group, name)
    assert InstanceId.parse(str(written)) == written
    assert same_id(str(written), str(written).upper() + "/")


@pytest.mark.parametrize(
    "path",
    [
        ID.replace("resourceGroups", "resourcegroups"),
        ID.replace("/managedCCFs", "//ManagedCCFs"),
        ID.replace("Microsoft.ConfidentialLedger", "microsoft.confidentialledger") + "/",
        ID.replace("subscriptions", "SUBSCRIPTIONS"),
    ],
)
def test_spellings_of_one_resource_fold_to_one_path(path: str) -> None:
    assert fold_path(path) == ID


def test_names_keep_their_casing_even_when_they_look_like_words() -> None:
    path = f"/subscriptions/{SUBSCRIPTION}/resourcegroups/Providers/resources"
    assert fold_path(path) == f"/subscriptions/{SUBSCRIPTION}/resourceGroups/Providers/resources"


def test_other_paths_keep_their_casing() -> None:
    assert fold_path("/ADFS//oauth2/v2.0/Token/") == "/ADFS/oauth2/v2.0/Token"
    assert not is_resource_manager_path("/ledgerIdentity/subscriptions")
    assert is_resource_manager_path("/Subscriptions")
    assert fold_path("/") == "/"


@given(st.text("/aSsubscriptionspriovdesX", max_size=60))
def test_folding_twice_changes_nothing(path: str) -> None:
    assert fold_path(fold_path(path)) == fold_path(path)


@pytest.mark.parametrize("text", ["", "/", ID + "/more", ID.replace("managedCCFs", "ledgers"), ID.rpartition("/")[0]])
def test_other_texts_are_no_instance_ids(text: str) -> None:
    with pytest.raises(InvalidResourceId):
        InstanceId.parse(text)


def test_guids() -> None:
    assert is_guid(SUBSCRIPTION)
    assert not is_guid(SUBSCRIPTION + "0")
    assert not is_guid("subscription")
