"""Addresses of billing, to be included under `/api/v1/`."""

from __future__ import annotations

from django.urls import path

from billing.api import catalog, invoices, payments, subscriptions

urlpatterns = [
    path("products", catalog.Products.as_view()),
    path("products/<str:product>", catalog.OneProduct.as_view()),
    path("prices", catalog.Prices.as_view()),
    path("prices/<str:price>", catalog.OnePrice.as_view()),
    path("customers/<str:customer>/payment-methods", catalog.PaymentMethods.as_view()),
    path("subscriptions", subscriptions.Subscriptions.as_view()),
    path("subscriptions/<str:subscription>", subscriptions.OneSubscription.as_view()),
    path("subscriptions/<str:subscription>/cancel", subscriptions.Cancel.as_view()),
    path("subscriptions/<str:subscription>/activate", subscriptions.Activate.as_view()),
    path("invoices", invoices.Invoices.as_view()),
    path("invoices/<str:invoice>", invoices.OneInvoice.as_view()),
    path("invoices/<str:invoice>/finalize", invoices.Finalize.as_view()),
    path("invoices/<str:invoice>/pay", invoices.Pay.as_view()),
    path("invoices/<str:invoice>/void", invoices.Void.as_view()),
    path("invoices/<str:invoice>/mark_uncollectible", invoices.MarkUncollectible.as_view()),
    path("payments", payments.Payments.as_view()),
    path("payments/<str:payment>", payments.OnePayment.as_view()),
]
