"""Who may act: people, their roles, and API keys (CONTRACTS 8)."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower, Now

from accounts.permissions import ROLES, SCOPES


class UserManager(BaseUserManager["User"]):
    """People are found by e-mail, whatever its case."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> User:
        """A new person; without a password nobody can sign in as them until one is set."""
        user = self.model(email=email.strip().lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> User:
        """An operator of the installation, who may use the Django admin."""
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)

    def get_by_natural_key(self, username: str | None) -> User:
        """Used by Django's sign-in."""
        return self.get(email=(username or "").strip().lower())


class User(AbstractBaseUser, PermissionsMixin):
    """A person on the staff side. Signs in by e-mail; there is no user name."""

    email = models.EmailField(max_length=254, unique=True)  # always lower case, see the constraint
    name = models.CharField(max_length=200, blank=True, default="")
    is_staff = models.BooleanField("may use the admin", default=False)
    is_active = models.BooleanField(default=True)
    date_joined = models.DateTimeField(db_default=Now(), editable=False)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(email=Lower(F("email"))), name="user_email_is_lower_case"),
            models.UniqueConstraint(Lower("email"), name="user_email_unique_in_any_case"),
        ]

    def __str__(self) -> str:
        return self.email

    def clean(self) -> None:
        """Forms of the admin: two spellings of an address are one person."""
        super().clean()
        self.email = self.email.strip().lower()

    @property
    def public_id(self) -> str:
        """`usr_1`."""
        return f"usr_{self.pk}"


class Membership(models.Model):
    """A person's role in a workspace."""

    workspace = models.ForeignKey("accounts.Workspace", models.CASCADE, related_name="memberships", db_index=False)
    user = models.ForeignKey("accounts.User", models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=[(role, role) for role in ROLES])
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["workspace", "user"], name="membership_one_per_person"),
            models.CheckConstraint(condition=Q(role__in=list(ROLES)), name="membership_role_known"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} {self.role}"


class ApiKey(models.Model):
    """`ow_<prefix>_<secret>`; only the secret's SHA-256 is kept. 32 random bytes need no slow hash (RELIABILITY 5)."""

    workspace = models.ForeignKey("accounts.Workspace", models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=12, unique=True)
    secret_sha256 = models.CharField(max_length=64)
    scopes = ArrayField(models.CharField(max_length=20))
    made_by = models.ForeignKey("accounts.User", models.SET_NULL, null=True, related_name="+")
    expires_at = models.DateTimeField(null=True)  # database's real time
    revoked_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)  # to the minute
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(scopes__contained_by=list(SCOPES)) & ~Q(scopes=[]), name="api_key_scopes_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} (ow_{self.prefix}_…)"

    @property
    def public_id(self) -> str:
        """`key_1`."""
        return f"key_{self.pk}"
